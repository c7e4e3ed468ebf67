"""A world in which droplets are created: DigitalOcean's API in memory, with a fake droplet at each address."""

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
    """Each toolbox's shim by its stored address; without a booted droplet at that address, nothing answers."""

    now: Callable[[], datetime]
    digitalocean: FakeDigitalOcean
    booted: dict[str, FakeDroplet] = field(default_factory=dict)

    def for_toolbox(self, toolbox: Toolbox) -> FakeDroplet:
        silent = FakeDroplet(self.now, reachable=False)
        exists = toolbox.address in [droplet.address for droplet in self.digitalocean.droplets.values()]
        enrolled = exists and toolbox.fingerprint == fingerprint(toolbox.address)
        return self.booted.get(toolbox.address or "", silent) if enrolled else silent

    def boot(self, address: str) -> FakeDroplet:
        return self.booted.setdefault(address, FakeDroplet(self.now, engine_id=f"engine at {address}"))


class FleetCertificates:
    """Certificates of the fake shims: plain texts; a valid token is the text `signed by` the certificate."""

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
    """Return what the shim sends on the droplet that the create request `new` has made."""
    return EnrolmentRequest(new.toolbox_id, droplet_id, f"certificate of {address}", fingerprint(address), new.token)


def fingerprint(address: str | None) -> str:
    """Return the fingerprint of the certificate of the shim at `address`."""
    return f"{address}".encode().hex().ljust(64, "0")


class FleetWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.fleet, self.certificates = Fleet(self.now, self.digitalocean), FleetCertificates()
        self.deps = replace(self.deps, shims=ToolboxShims(self.fleet))

    def provision(self, new: NewToolbox = NEW) -> Toolbox:
        """Request a toolbox; no worker has run yet."""
        return provision(self.deps, CALLER, new)

    def request(self, toolbox: Toolbox, verb: Callable[..., Toolbox], *more: object) -> Toolbox:
        return verb(self.deps, ToolboxRequest(CALLER, toolbox.id), *more)

    def deploy_on(self, toolbox: Toolbox, wanted: NewInstance | None = None) -> Instance:
        return self._deployed(self.deps, toolbox, wanted or new())

    def _deployed(self, deps: Dependencies, toolbox: Toolbox, wanted: NewInstance) -> Instance:
        return deploy(deps, CALLER, toolbox.id, wanted)

    def deploy_late(self, toolbox: Toolbox) -> Instance:
        """Deploy in a worker that read the toolbox before it was deprovisioned."""
        stale = Snapshot(toolbox_ref(toolbox.id), encode(toolbox), None)
        deps = replace(self.deps, store=StaleStore(self.store, stale))
        return self._deployed(deps, toolbox, new(ports=(20_001,)))

    def boot(self) -> None:
        """Boot every droplet that has not booted; its shim enrols with what its user-data holds."""
        for key, droplet in self.digitalocean.droplets.items():
            new, address = self.digitalocean.create_requests.get(key), droplet.address
            if new and address and address not in self.fleet.booted:
                self.fleet.boot(address)
                enrolment.enrol(self.deps, self.enrolling(key), self.certificates)

    def enrolling(self, droplet_id: str) -> EnrolmentRequest:
        """Return what the shim of that droplet sends to enrol."""
        address = self.digitalocean.droplets[droplet_id].address
        return enrolling(self.digitalocean.create_requests[droplet_id], droplet_id, address)

    def active(self, new: NewToolbox = NEW) -> Toolbox:
        """Provision a toolbox until it is active."""
        toolbox = self.provision(new)
        self.settle()
        assert self.toolbox(toolbox).status == "active", self.toolbox(toolbox)
        return self.toolbox(toolbox)

    def settle(self, sweeps: int = 6) -> None:
        """Let time pass: droplets boot and sweeps run."""
        self.deliver()
        for _ in range(sweeps):
            self.boot()
            self.deliver()
            self.sweep()

    def toolbox(self, toolbox: Toolbox) -> Toolbox:
        """Return the toolbox as it is stored now."""
        loaded = decode(Toolbox, self.store.get([toolbox_ref(toolbox.id)])[0])
        assert loaded
        return loaded.value

    def toolbox_events(self, toolbox: Toolbox) -> list[tuple[object, object, object]]:
        found = self.store.query(Query(f"{TOOLBOXES}/{toolbox.id}/events", order_by="time"))
        return [(event.data["type"], event.data["before"], event.data["after"]) for event in found]
