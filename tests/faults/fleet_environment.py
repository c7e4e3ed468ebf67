"""An environment in which droplets are created: DigitalOcean's API and each of its droplets live in this process."""

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
from functions.lifecycle.repository import NAME_RESERVATIONS, PORT_RESERVATIONS, TOOLBOXES
from functions.lifecycle.toolbox.enrolment import enrol
from shim.contract.errors import ShimError
from tests.fakes.digitalocean import ApiFault, FakeDigitalOcean
from tests.fakes.droplet import FakeDroplet
from tests.fakes.fleet import FleetCertificates, enrolling, fingerprint
from tests.fakes.mcp_server import Server
from tests.faults import outcome
from tests.faults.crashing_worker import CrashingDroplets, CrashingShim, Effects, with_effects
from tests.faults.environment import Clock, Droplet, Environment
from tests.faults.toolbox_operations import TOOLBOX_OPERATIONS, the_toolbox


class FleetEnvironment(Environment):
    """`fleet` holds the droplets that have booted, by address."""

    def __init__(
        self, folder: Path | None, clock: Clock, digitalocean: FakeDigitalOcean, fleet: dict[str, Droplet], seed: int
    ) -> None:
        self.fleet, self._silent = fleet, Droplet(now=clock.now, clock=clock, reachable=False)
        super().__init__(folder, clock, self._silent, digitalocean, seed)
        self.shims = FleetShims(self)
        self.deps = with_effects(self.deps, Effects(), self.shims, CrashingDroplets(digitalocean, Effects()))

    def droplet_at(self, address: str | None, fingerprint_: str | None) -> FakeDroplet:
        exists = address in [droplet.address for droplet in self.digitalocean.droplets.values()]
        enrolled = exists and fingerprint_ == fingerprint(address)
        return self.fleet.get(address or "", self._silent) if enrolled else self._silent

    def deliver_delayed(self) -> None:
        """Let the commands that the dead worker had sent reach the droplet or the API now."""
        for kind, arguments in self.delayed:
            with suppress(ShimError, ToolboxesError):
                self._answer(kind, arguments, lambda progress: None)

    def lose_create(self) -> None:
        """Let the next create call make a droplet without answering."""
        self.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("no answer"), "create", after=True))

    def power_on(self) -> None:
        """Boot every droplet that the API has made; no shim enrols yet."""
        for droplet in self.digitalocean.droplets.values():
            address = droplet.address or ""
            if address not in self.fleet:
                self.fleet[address] = Droplet(
                    now=self.clock.now, clock=self.clock, engine_id=f"engine at {address}", mcp=Server(["a"])
                )

    def boot(self) -> None:
        """Boot every droplet and let each shim ask to enrol, as it does at every start."""
        self.power_on()
        for key, droplet in self.digitalocean.droplets.items():
            with suppress(EnrolmentRefused):
                enrol(
                    self.deps,
                    enrolling(self.digitalocean.create_requests[key], key, droplet.address),
                    FleetCertificates(),
                )


@dataclass(frozen=True)
class FleetShims:
    env: FleetEnvironment

    def for_toolbox(self, toolbox: Toolbox) -> FakeDroplet:
        return self.env.droplet_at(toolbox.address, toolbox.fingerprint)


def prepare(operation: str, folder: Path | None = None) -> FleetEnvironment:
    """Return an account in the state that the operation starts from; the store is in memory without `folder`."""
    clock = Clock()
    env = FleetEnvironment(folder, clock, FakeDigitalOcean(now=clock.now), {}, 1)
    TOOLBOX_OPERATIONS[operation].before(env)
    return env


def clone(env: FleetEnvironment, folder: Path) -> FleetEnvironment:
    """Copy the environment into `folder`, so that preparing it once serves many crash points."""
    assert env.folder
    shutil.copytree(env.folder, folder)
    clock, digitalocean, fleet = copy.deepcopy((env.clock, env.digitalocean, env.fleet))
    return FleetEnvironment(folder, clock, digitalocean, fleet, 3)


@dataclass(frozen=True)
class FinalState:
    """What a toolbox has come to, without ids and times, so that two runs compare equal."""

    toolbox: tuple[Any, ...]
    instances: list[tuple[Any, ...]]
    running: list[list[str]]
    reservations: int
    firewalls: int
    droplets: int
    events: list[str]


def final_state(env: FleetEnvironment) -> FinalState:
    toolbox = the_toolbox(env.deps)
    expected = [toolbox.droplet_id] if toolbox.droplet_id else []
    assert list(env.digitalocean.droplets) == expected, "an orphan droplet, or more than one droplet"
    addresses = [droplet.address or "" for droplet in env.digitalocean.droplets.values()]
    booted = [env.fleet[address] for address in addresses if address in env.fleet]
    instances = sorted(outcome.all_instances(env), key=lambda instance: instance.name)
    events = outcome.documents(env, f"{TOOLBOXES}/{toolbox.id}/events")
    return FinalState(
        (toolbox.status, toolbox.generation, toolbox.settled, toolbox.retired, toolbox.lease, toolbox.shim_image),
        [(i.name, i.status, i.settled, i.deleted_at is not None, i.lease) for i in instances],
        [sorted(c.state for c in droplet.containers.values()) for droplet in booted],
        sum(len(env.store.query(Query(kind))) for kind in (NAME_RESERVATIONS, PORT_RESERVATIONS)),
        len(env.digitalocean.firewalls),
        len(env.digitalocean.droplets),
        sorted(event["type"] for event in events if event["type"] in ("enrolled", "droplet_destroyed")),
    )


@cache
def effects(operation: str) -> list[str]:
    """Return the names of the operation's external effects in a run without a crash."""
    env, recorded = prepare(operation), Effects()
    shims, droplets = CrashingShim(env.shims, recorded), CrashingDroplets(env.digitalocean, recorded)
    TOOLBOX_OPERATIONS[operation].run(with_effects(env.deps, recorded, shims, droplets), env.queue, False)
    return recorded.names


def finish(env: FleetEnvironment, sweeps: int = 8) -> None:
    """Let minutes pass: droplets boot, and each minute a sweep runs."""
    for _ in range(sweeps):
        env.boot()
        env.sweep(60)


@cache
def reference_state(operation: str) -> FinalState:
    """Return the final state of the operation without a crash."""
    env = prepare(operation)
    TOOLBOX_OPERATIONS[operation].run(env.deps, env.queue, False)
    finish(env)
    return final_state(env)
