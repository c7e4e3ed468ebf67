"""A world whose toolboxes are made: DigitalOcean's API in memory, and behind each address a droplet of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions.domain.enrolment import Enrolling
from functions.domain.errors import Unauthorized
from functions.domain.toolbox import Toolbox
from functions.lifecycle import enrolment
from functions.lifecycle.documents import TOOLBOXES, load, toolbox_ref
from functions.lifecycle.ports import Query
from functions.lifecycle.provision import NewToolbox, provision
from functions.lifecycle.toolbox_change import AskedOfToolbox
from tests.fakes.droplet import FakeDroplet
from tests.fakes.world import CALLER, World

NEW = NewToolbox("box", "fra1", "s-1vcpu-1gb")


@dataclass
class Fleet:
    """Each toolbox's shim by the address on record; where nothing has booted, nothing answers."""

    now: Callable[[], datetime]
    booted: dict[str, FakeDroplet] = field(default_factory=dict)

    def of(self, toolbox: Toolbox) -> FakeDroplet:
        silent = FakeDroplet(self.now, reachable=False)
        droplet = self.booted.get(toolbox.address or "", silent)
        return droplet if toolbox.fingerprint == fingerprint(toolbox.address) else silent

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

    def claimed(self, token: str) -> str:
        return token.partition(" ")[0]

    def shown_at(self, address: str) -> str:
        return self.shown.get(address, fingerprint(address))


def fingerprint(address: str | None) -> str:
    """Of the certificate that the shim there has made for itself."""
    return f"{address}".encode().hex().ljust(64, "0")


class FleetWorld(World):
    def __init__(self) -> None:
        super().__init__()
        self.fleet, self.certificates = Fleet(self.now), FleetCertificates()
        self.ports = replace(self.ports, shims=self.fleet)

    def provision(self, new: NewToolbox = NEW) -> Toolbox:
        """On record, and no more."""
        answer = provision(self.ports, CALLER, new)
        assert isinstance(answer, Toolbox)
        return answer

    def asked(self, toolbox: Toolbox, verb: Callable[..., object], *more: object) -> Toolbox:
        answer = verb(self.ports, AskedOfToolbox(CALLER, toolbox.id), *more)
        assert isinstance(answer, Toolbox)
        return answer

    def boot(self) -> None:
        """Every droplet that has not, boots, and its shim enrols with what its user-data holds."""
        for key, droplet in self.digitalocean.droplets.items():
            new, address = self.digitalocean.asked.get(key), droplet.address
            if new and address and address not in self.fleet.booted:
                self.fleet.boot(address)
                enrolment.enrol(self.ports, self.enrolling(key), self.certificates)

    def enrolling(self, droplet_id: str) -> Enrolling:
        """What the shim of that droplet says of itself."""
        new, address = self.digitalocean.asked[droplet_id], self.digitalocean.droplets[droplet_id].address
        return Enrolling(new.toolbox_id, droplet_id, f"certificate of {address}", fingerprint(address), new.token)

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
        loaded = load(Toolbox, self.store.get([toolbox_ref(toolbox.id)])[0])
        assert loaded
        return loaded.value

    def toolbox_events(self, toolbox: Toolbox) -> list[tuple[object, object, object]]:
        found = self.store.query(Query(f"{TOOLBOXES}/{toolbox.id}/events", order_by="time"))
        return [(event.data["type"], event.data["before"], event.data["after"]) for event in found]
