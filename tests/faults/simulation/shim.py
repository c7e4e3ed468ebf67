"""The way to the shims and the shims themselves by a seed: commands that are lost, late, or unanswered.

What the real shim is measured to do is done here: a command's start-by time is checked as it arrives and again with
its instance's lock held, and what is inside the engine then cannot be recalled. An inspect waits for the lock as well,
since what it sees must have come of what was begun; other reads wait for nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from functions.domain.errors import ToolboxUnreachable
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import EMPTY
from shim.contract import errors as shim_errors
from shim.contract import messages, names, routes
from shim.contract.routes import Route
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.guard import Guard
from tests.faults.simulation.scheduler import Scheduler, Worker

ANSWER_SECONDS = 35.0
ACTS = (routes.CREATE, routes.START, routes.STOP, routes.RESTART, routes.REMOVE)
# A look waits for what is inside the engine, too: what it sees is what came of that.
TURNS = (*ACTS, routes.INSPECT)
NOT_ANSWERED = "the toolbox did not answer"


@dataclass(eq=False)
class Command:
    """One command under way, from its sending to its answer, which may come long after its sender is gone.

    `lease`: whose it was when it was sent, None where the sender holds none. `instance`: as it was on record then.
    """

    route: Route
    name: str
    body: Any
    start_by: datetime
    sender: Worker
    lease: str | None
    instance: Instance | None
    answer: Any = None
    error: Exception | None = None
    done: bool = False

    @property
    def instance_id(self) -> str:
        return instance_of(self.name)

    def __str__(self) -> str:
        return f"{self.route.method} {self.route.target(self.name)} of {self.sender.name}"


def instance_of(name: str) -> str:
    match = names.CONTAINER_NAME.fullmatch(name)
    return match["instance"] if match else ""


class SimulatedShims:
    def __init__(self, scheduler: Scheduler, droplets: dict[str, Droplet], guard: Guard) -> None:
        self._scheduler, self._droplets, self._guard = scheduler, droplets, guard

    def of(self, toolbox: Toolbox) -> SimulatedShim:
        return SimulatedShim(self._scheduler, self._droplets[toolbox.id], self._guard)


class SimulatedShim:
    def __init__(self, scheduler: Scheduler, droplet: Droplet, guard: Guard) -> None:
        self._scheduler, self._droplet, self._guard = scheduler, droplet, guard

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: object = EMPTY,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        if isinstance(body, messages.Create):
            name = names.container_name(body.instance_id, body.spec_generation)
        sender = self._scheduler.current
        instance_id = instance_of(name)
        lease, instance = sender.leases.get(instance_id), self._guard.on_record(instance_id)
        command = Command(route, name, body, start_by, sender, lease, instance)
        self._send(command)
        self._scheduler.wait(lambda: command.done, within or ANSWER_SECONDS)
        if not command.done:
            raise shim_errors.OutcomeUnknown(NOT_ANSWERED)
        return self._answered(command)

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        listed: messages.Status = self.command(routes.STATUS, start_by=start_by, body=limits)
        if self._strikes("list stale") and self._droplet.history:
            listed = self._scheduler.rng.choice(self._droplet.history)
            self._scheduler.tell("is told an old list")
        if self._strikes("list partial"):
            seen = [one for one in listed.containers if self._scheduler.rng.random() < 0.5]
            listed = replace(listed, complete=False, containers=seen)
            self._scheduler.tell("is told a part of the list")
        etag = self._droplet.etag(listed)
        return (None if etag == unless else listed), etag

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        scheduler, droplet = self._scheduler, self._droplet
        self._reach(f"pull {body.image}")
        if scheduler.now >= start_by:
            raise shim_errors.TokenStale("the command's start-by time has passed")
        if body.image not in droplet.registry:
            raise shim_errors.ImageUnavailable(f"manifest for {body.image} not found: manifest unknown")
        for done in range(scheduler.rng.randrange(1, 4)):
            scheduler.pause(scheduler.rng.uniform(0.1, 20 if self._strikes("engine slow") else 2))
            if self._strikes("registry fails"):
                raise shim_errors.RegistryUnreachable("the registry is silent")
            on_progress(messages.Progress(done, 4, 0, 1))
        droplet.images.add(body.image)
        if self._strikes("answer lost"):
            raise shim_errors.OutcomeUnknown("the pull's progress broke off")
        return messages.Image("sha256:" + "1" * 64, "sha256:" + "2" * 64, 2)

    def _reach(self, what: str) -> None:
        scheduler = self._scheduler
        scheduler.cede(f"sends {what}")
        if scheduler.now < self._droplet.reachable_at or self._strikes("unreachable"):
            scheduler.tell("the toolbox is unreachable")
            raise ToolboxUnreachable("the toolbox cannot be reached")

    def _send(self, command: Command) -> None:
        scheduler = self._scheduler
        self._reach(f"{command.route.method} {command.route.target(command.name)}")
        if not self._strikes("command lost"):
            seconds = scheduler.rng.uniform(0, 45) if self._strikes("command late") else 0.0
            scheduler.after(seconds, lambda: self._arrive(command))
        if self._strikes("broken off"):
            scheduler.tell("the connection breaks off")
            raise shim_errors.OutcomeUnknown("the toolbox broke off")

    def _answered(self, command: Command) -> Any:
        self._scheduler.cede(f"is answered: {command.error or 'done'}")
        if self._strikes("answer lost"):
            raise shim_errors.OutcomeUnknown(NOT_ANSWERED)
        if isinstance(command.error, shim_errors.NoSuchContainer):
            command.sender.told_absent.add(command.name)
        if command.error:
            raise command.error
        if isinstance(command.answer, messages.Acted) and command.answer.container is None:
            command.sender.told_absent.add(command.name)
        return command.answer

    # What happens on the droplet, with or without its sender.

    def _arrive(self, command: Command) -> None:
        if self._scheduler.now >= command.start_by:
            self._end(command, error=shim_errors.TokenStale("the command's start-by time has passed"))
        elif self._strikes("engine unavailable"):
            self._end(command, error=shim_errors.EngineUnavailable("the engine's socket does not answer"))
        elif command.route in TURNS:
            self._take_turn(command)
        else:
            self._act(command)

    def _take_turn(self, command: Command) -> None:
        scheduler, droplet = self._scheduler, self._droplet
        if scheduler.now >= command.start_by:
            self._end(command, error=shim_errors.TokenStale("the command's start-by time has passed"))
        elif command.instance_id in droplet.locks:
            scheduler.after(scheduler.rng.uniform(0.05, 1), lambda: self._take_turn(command))
        else:
            droplet.locks.add(command.instance_id)
            if command.route in ACTS:
                self._guard.begun(droplet, command)
            scheduler.tell(f"begins {command}")
            if self._strikes("engine slow"):
                scheduler.after(scheduler.rng.uniform(0, 40), lambda: self._finish(command))
            else:
                self._finish(command)

    def _finish(self, command: Command) -> None:
        self._droplet.locks.discard(command.instance_id)
        self._act(command)

    def _act(self, command: Command) -> None:
        try:
            if command.route is routes.REQUEST and self._strikes("not answering"):
                raise shim_errors.NotAnswering("connection refused")
            if command.route is routes.START and self._strikes("start fails"):
                raise shim_errors.StartFailed("exec: no such file or directory")
            if command.route in (routes.START, routes.RESTART) and self._strikes("port kept"):
                self._droplet.keep_ports(command.name, self._scheduler.rng.random())
            if command.route is routes.STATUS:
                self._end(command, answer=self._droplet.listing(limits=command.body is True))
            else:
                self._end(command, answer=self._droplet.act(command.route, command.name, command.body))
        except shim_errors.ShimError as error:
            self._end(command, error=error)

    def _end(self, command: Command, answer: Any = None, error: Exception | None = None) -> None:
        self._scheduler.tell(f"ends {command}: {error or 'done'}")
        command.answer, command.error, command.done = answer, error, True

    def _strikes(self, fault: str) -> bool:
        return self._scheduler.weather.strikes(self._scheduler.rng, fault)
