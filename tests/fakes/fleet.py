"""A world whose toolboxes are made: DigitalOcean's API in memory, and behind each address a droplet of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions.adapters.toolbox_shim import ToolboxShims
from functions.domain.errors import Unauthorized
from functions.domain.instance.model import Instance
from functions.domain.toolbox.droplet import NewDroplet
from functions.domain.toolbox.enrolment import EnrolmentRequest
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Query, Snapshot
from functions.lifecycle.instance.deploy import NewInstance, deploy
from functions.lifecycle.repository import TOOLBOXES, toolbox_ref
from functions.lifecycle.toolbox import enrolment
from functions.lifecycle.toolbox.change import NewToolbox, ToolboxRequest, provision
from tests.fakes.digitalocean import FakeDigitalOcean
from tests.fakes.droplet import FakeDroplet
from tests.fakes.store import StaleStore
from tests.fakes.stored import decode, encode
from tests.fakes.world import CALLER, World, new

NEW = NewToolbox("box", "fra1", "s-1vcpu-1gb")


@dataclass
class Fleet:
    """Each toolbox's shim by the address on record; where nothing has booted, or is no more, nothing answers."""

    now: Callable[[], datetime]
    digitalocean: FakeDigitalOcean
    booted: dict[str, FakeDroplet] = field(default_factory=dict)

    def of(self, toolbox: Toolbox) -> FakeDroplet:
        silent = FakeDroplet(self.now, reachable=False)
        there = toolbox.address in [one.address for one in self.digitalocean.droplets.values()]
        known = there and toolbox.fingerprint == fingerprint(toolbox.address)
        return self.booted.get(toolbox.address or "", silent) if known else silent

    def boot(self, address: str) -> FakeDroplet:
        return self.booted.setdefault(address, FakeDroplet(self.now, engine_id=f"engine at {address}"))


class FleetCertificates:
    """As the shims of a fleet have them: a certificate is known by its text, a good token is `signed by` it."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}

    def fingerprint(self, pem: str) -> str:
        return fingerprint(pem.removeprefix("certificate of "))

    def verify(self, pem: str, token: str, audience: str, toolbox_id: str) -> None:
        if token != f"{toolbox_id} signed by {pem} for {audience}":
            raise Unauthorized("the token is not accepted")

    def unverified_toolbox_id(self, token: str) -> str:
        return token.partition(" ")[0]

    def fingerprint_at(self, address: str) -> str:
        return self.shown.get(address, fingerprint(address))


def enrolling(new: NewDroplet, droplet_id: str, address: str | None) -> EnrolmentRequest:
    """What the shim says on the droplet that `new` has made."""
    return EnrolmentRequest(new.toolbox_id, droplet_id, f"certificate of {address}", fingerprint(address), new.token)


def fingerprint(address: str | None) -> str:
    """Of the certificate that the shim there has made for itself."""
    return f"{address}".encode().hex().ljust(64, "0")


class FleetWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.fleet, self.certificates = Fleet(self.now, self.digitalocean), FleetCertificates()
        self.deps = replace(self.deps, shims=ToolboxShims(self.fleet))

    def provision(self, new: NewToolbox = NEW) -> Toolbox:
        """On record, and no more."""
        answer = provision(self.deps, CALLER, new)
        assert isinstance(answer, Toolbox)
        return answer

    def asked(self, toolbox: Toolbox, verb: Callable[..., object], *more: object) -> Toolbox:
        answer = verb(self.deps, ToolboxRequest(CALLER, toolbox.id), *more)
        assert isinstance(answer, Toolbox)
        return answer

    def deploy_on(self, toolbox: Toolbox, wanted: NewInstance | None = None) -> Instance:
        return self._deployed(self.deps, toolbox, wanted or new())

    def _deployed(self, deps: Dependencies, toolbox: Toolbox, wanted: NewInstance) -> Instance:
        answer = deploy(deps, CALLER, toolbox.id, wanted)
        assert isinstance(answer, Instance)
        return answer

    def deploy_late(self, toolbox: Toolbox) -> Instance:
        """By a worker that read the toolbox before its account gave it up."""
        stale = Snapshot(toolbox_ref(toolbox.id), encode(toolbox), None)
        deps = replace(self.deps, store=StaleStore(self.store, stale))
        return self._deployed(deps, toolbox, new(ports=(20_001,)))

    def boot(self) -> None:
        """Every droplet that has not, boots, and its shim enrols with what its user-data holds."""
        for key, droplet in self.digitalocean.droplets.items():
            new, address = self.digitalocean.asked.get(key), droplet.address
            if new and address and address not in self.fleet.booted:
                self.fleet.boot(address)
                enrolment.enrol(self.deps, self.enrolling(key), self.certificates)

    def enrolling(self, droplet_id: str) -> EnrolmentRequest:
        """What the shim of that droplet says of itself."""
        address = self.digitalocean.droplets[droplet_id].address
        return enrolling(self.digitalocean.asked[droplet_id], droplet_id, address)

    def active(self, new: NewToolbox = NEW) -> Toolbox:
        """A toolbox that serves."""
        toolbox = self.provision(new)
        self.settle()
        assert self.toolbox(toolbox).status == "active", self.toolbox(toolbox)
        return self.toolbox(toolbox)

    def settle(self, sweeps: int = 6) -> None:
        """Time passes, and whatever can boot does."""
        self.deliver()
        for _ in range(sweeps):
            self.boot()
            self.deliver()
            self.sweep()

    def toolbox(self, toolbox: Toolbox) -> Toolbox:
        """As its document has it now."""
        loaded = decode(Toolbox, self.store.get([toolbox_ref(toolbox.id)])[0])
        assert loaded
        return loaded.value

    def toolbox_events(self, toolbox: Toolbox) -> list[tuple[object, object, object]]:
        found = self.store.query(Query(f"{TOOLBOXES}/{toolbox.id}/events", order_by="time"))
        return [(event.data["type"], event.data["before"], event.data["after"]) for event in found]
