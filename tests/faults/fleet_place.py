"""A place whose toolbox is made: DigitalOcean's API and each of its droplets live in this process, like the clock."""

from __future__ import annotations

import copy
import shutil
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from functions.domain.errors import DigitalOceanUnknown, EnrolmentRefused, ToolboxesError
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, TOOLBOXES
from functions.lifecycle.toolbox.enrolment import enrol
from shim.contract.errors import ShimError
from tests.fakes.digitalocean import ApiFault, FakeDigitalOcean
from tests.fakes.droplet import FakeDroplet
from tests.fakes.fleet import FleetCertificates, enrolling, fingerprint
from tests.fakes.mcp_server import Server
from tests.faults import outcome
from tests.faults.place import Clock, Droplet, Place
from tests.faults.toolbox_operations import TOOLBOX_OPERATIONS, the_toolbox
from tests.faults.worker import CutDroplets, CutShim, Effects, through


class FleetPlace(Place):
    def __init__(
        self, folder: Path | None, clock: Clock, digitalocean: FakeDigitalOcean, fleet: dict[str, Droplet], seed: int
    ) -> None:
        self.fleet, self._silent = fleet, Droplet(now=clock.now, clock=clock, reachable=False)
        super().__init__(folder, clock, self._silent, digitalocean, seed)
        self.shims = Shims(self)
        self.deps = through(self.deps, Effects(), self.shims, CutDroplets(digitalocean, Effects()))

    def reached(self, address: str | None, fingerprint_: str | None) -> FakeDroplet:
        there = address in [one.address for one in self.digitalocean.droplets.values()]
        return (
            self.fleet.get(address or "", self._silent)
            if there and fingerprint_ == fingerprint(address)
            else self._silent
        )

    def arrive_late(self) -> None:
        """What the dead worker had sent reaches the droplet or the API now."""
        for kind, arguments in self.late:
            with suppress(ShimError, ToolboxesError):
                self._answer(kind, arguments, lambda progress: None)

    def lose_create(self) -> None:
        self.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("no answer"), "create", after=True))

    def power_on(self) -> None:
        """Whatever the API has made boots."""
        for droplet in self.digitalocean.droplets.values():
            address = droplet.address or ""
            if address not in self.fleet:
                made = Droplet(
                    now=self.clock.now, clock=self.clock, engine_id=f"engine at {address}", mcp=Server(["a"])
                )
                self.fleet[address] = made

    def boot(self) -> None:
        """And each shim asks to enrol, as it does at every start."""
        self.power_on()
        for key, droplet in self.digitalocean.droplets.items():
            with suppress(EnrolmentRefused):
                enrol(self.deps, enrolling(self.digitalocean.asked[key], key, droplet.address), FleetCertificates())


@dataclass(frozen=True)
class Shims:
    place: FleetPlace

    def of(self, toolbox: Toolbox) -> FakeDroplet:
        return self.place.reached(toolbox.address, toolbox.fingerprint)


def standing(operation: str, folder: Path | None = None) -> FleetPlace:
    clock = Clock()
    place = FleetPlace(folder, clock, FakeDigitalOcean(now=clock.now), {}, 1)
    TOOLBOX_OPERATIONS[operation].before(place)
    return place


def copied(place: FleetPlace, folder: Path) -> FleetPlace:
    """The same world once more, to be changed apart from the first."""
    assert place.folder
    shutil.copytree(place.folder, folder)
    clock, digitalocean, fleet = copy.deepcopy((place.clock, place.digitalocean, place.fleet))
    return FleetPlace(folder, clock, digitalocean, fleet, 3)


@dataclass(frozen=True)
class End:
    """What a toolbox has come to; nothing in here names an id or a time."""

    toolbox: tuple[Any, ...]
    instances: list[tuple[Any, ...]]
    running: list[list[str]]
    claims: int
    firewalls: int
    droplets: int
    told: list[str]


def end(place: FleetPlace) -> End:
    toolbox = the_toolbox(place.deps)
    ours = [toolbox.droplet_id] if toolbox.droplet_id else []
    assert list(place.digitalocean.droplets) == ours, "a droplet that no toolbox knows, or one too many"
    living = [
        place.fleet[one.address or ""] for one in place.digitalocean.droplets.values() if one.address in place.fleet
    ]
    instances = sorted(outcome.all_instances(place), key=lambda one: one.name)
    events = outcome.documents(place, f"{TOOLBOXES}/{toolbox.id}/events")
    return End(
        (toolbox.status, toolbox.generation, toolbox.settled, toolbox.retired, toolbox.lease, toolbox.shim_image),
        [(one.name, one.status, one.settled, one.deleted_at is not None, one.lease) for one in instances],
        [sorted(c.state for c in droplet.containers.values()) for droplet in living],
        sum(len(place.store.query(Query(kind))) for kind in (NAME_RESERVATIONS, PORT_RESERVATIONS)),
        len(place.digitalocean.firewalls),
        len(place.digitalocean.droplets),
        sorted(event["type"] for event in events if event["type"] in ("enrolled", "droplet_destroyed")),
    )


def post_mortems(place: FleetPlace) -> list[int]:
    """How many each instance has."""
    found = outcome.all_instances(place)
    return [len(place.store.query(Query(f"{INSTANCES}/{one.id}/post_mortems"))) for one in found]


@cache
def effects(operation: str) -> list[str]:
    """What the worker does to the outside, by name, where nothing cuts it."""
    made, seen = standing(operation), Effects()
    deps = through(made.deps, seen, CutShim(made.shims, seen), CutDroplets(made.digitalocean, seen))
    TOOLBOX_OPERATIONS[operation].run(deps, made.queue, False)
    return seen.names


def finish(place: FleetPlace, sweeps: int = 8) -> None:
    """Minutes pass: what is there boots, and the scheduler calls."""
    for _ in range(sweeps):
        place.boot()
        place.sweep(60)


@cache
def undisturbed(operation: str) -> End:
    """What the operation comes to where nothing cuts it."""
    made = standing(operation)
    TOOLBOX_OPERATIONS[operation].run(made.deps, made.queue, False)
    finish(made)
    return end(made)
