"""Simulated shims and the network to them: commands that are lost, late or unanswered.

A simulated shim behaves as the real one does (tests/shim): it checks a command's start-by time on arrival and again
while it holds the instance's lock, and a command that has reached the engine cannot be recalled. An inspect takes the
lock too, because it must see the result of a command that has begun; other reads do not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from functions.domain.errors import ToolboxUnreachable
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from shim.contract import errors as shim_errors
from shim.contract import messages, names, routes
from shim.contract.routes import Route
from tests.fakes.shim import ForwardingShim
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.droplet_oracle import DropletOracle
from tests.faults.simulation.scheduler import Scheduler, Worker

ANSWER_SECONDS = 35.0
CHANGES = (routes.CREATE, routes.START, routes.STOP, routes.RESTART, routes.REMOVE)
LOCKED = (*CHANGES, routes.INSPECT)
NOT_ANSWERED = "the toolbox did not answer"


@dataclass(eq=False)
class Command:
    """One command, from its sending to its answer, which may come long after its sender has died.

    `lease`: the lease that the sender held when it sent the command, if any. `instance`: as it was stored then.
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
    def __init__(self, scheduler: Scheduler, droplets: dict[str, Droplet], oracle: DropletOracle) -> None:
        self._scheduler, self._droplets, self._oracle = scheduler, droplets, oracle

    def for_toolbox(self, toolbox: Toolbox) -> SimulatedShim:
        return SimulatedShim(self._scheduler, self._droplets[toolbox.id], self._oracle)


class SimulatedShim(ForwardingShim):
    def __init__(self, scheduler: Scheduler, droplet: Droplet, oracle: DropletOracle) -> None:
        self._scheduler, self._droplet, self._oracle = scheduler, droplet, oracle

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        match method:
            case "command":
                return self._command(**arguments)
            case "status":
                return self._status(**arguments)
            case "pull":
                return self._pull(**arguments)
        raise AssertionError(f"the simulation has no {method}")

    def _command(
        self, route: Route, start_by: datetime, name: str, body: object, query: str = "", within: float | None = None
    ) -> Any:
        if isinstance(body, messages.Create):
            name = names.container_name(body.instance_id, body.spec_generation)
        sender = self._scheduler.current
        instance_id = instance_of(name)
        lease, instance = sender.leases.get(instance_id), self._oracle.stored(instance_id)
        command = Command(route, name, body, start_by, sender, lease, instance)
        self._send(command)
        self._scheduler.wait(lambda: command.done, within or ANSWER_SECONDS)
        if not command.done:
            raise shim_errors.OutcomeUnknown(NOT_ANSWERED)
        return self._answered(command)

    def _status(self, start_by: datetime, unless: str, limits: bool) -> tuple[messages.Status | None, str]:
        listed: messages.Status = self._command(routes.STATUS, start_by, "", limits)
        if self._occurs("list stale") and self._droplet.history:
            listed = self._scheduler.rng.choice(self._droplet.history)
            self._scheduler.log("receives a stale list")
        if self._occurs("list partial"):
            some = [entry for entry in listed.containers if self._scheduler.rng.random() < 0.5]
            listed = replace(listed, complete=False, containers=some)
            self._scheduler.log("receives a part of the list")
        etag = self._droplet.etag(listed)
        return (None if etag == unless else listed), etag

    def _pull(
        self, body: messages.Pull, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        scheduler, droplet = self._scheduler, self._droplet
        self._connect(f"pull {body.image}")
        if scheduler.now >= start_by:
            raise shim_errors.TokenStale("the command's start-by time has passed")
        if body.image not in droplet.registry:
            raise shim_errors.ImageUnavailable(f"manifest for {body.image} not found: manifest unknown")
        for done in range(scheduler.rng.randrange(1, 4)):
            scheduler.pause(scheduler.rng.uniform(0.1, 20 if self._occurs("engine slow") else 2))
            if self._occurs("registry fails"):
                raise shim_errors.RegistryUnreachable("the registry is silent")
            on_progress(messages.Progress(done, 4, 0, 1))
        droplet.images.add(body.image)
        if self._occurs("answer lost"):
            raise shim_errors.OutcomeUnknown("the pull's progress ended without a result")
        return messages.Image("sha256:" + "1" * 64, "sha256:" + "2" * 64, 2)

    def _connect(self, what: str) -> None:
        scheduler = self._scheduler
        scheduler.cede(f"sends {what}")
        if scheduler.now < self._droplet.reachable_at or self._occurs("unreachable"):
            scheduler.log("the toolbox is unreachable")
            raise ToolboxUnreachable("the toolbox cannot be reached")

    def _send(self, command: Command) -> None:
        scheduler = self._scheduler
        self._connect(f"{command.route.method} {command.route.target(command.name)}")
        if not self._occurs("command lost"):
            seconds = scheduler.rng.uniform(0, 45) if self._occurs("command late") else 0.0
            scheduler.after(seconds, lambda: self._arrive(command))
        if self._occurs("connection reset"):
            scheduler.log("the connection is reset")
            raise shim_errors.OutcomeUnknown("the toolbox reset the connection")

    def _answered(self, command: Command) -> Any:
        self._scheduler.cede(f"is answered: {command.error or 'done'}")
        if self._occurs("answer lost"):
            raise shim_errors.OutcomeUnknown(NOT_ANSWERED)
        if isinstance(command.error, shim_errors.NoSuchContainer):
            command.sender.absent.add(command.name)
        if command.error:
            raise command.error
        if isinstance(command.answer, messages.ActionResult) and command.answer.container is None:
            command.sender.absent.add(command.name)
        return command.answer

    # What follows happens on the droplet, whether or not the sender is still alive.

    def _arrive(self, command: Command) -> None:
        if self._scheduler.now >= command.start_by:
            self._end(command, error=shim_errors.TokenStale("the command's start-by time has passed"))
        elif self._occurs("engine unavailable"):
            self._end(command, error=shim_errors.EngineUnavailable("the engine's socket does not answer"))
        elif command.route in LOCKED:
            self._take_lock(command)
        else:
            self._act(command)

    def _take_lock(self, command: Command) -> None:
        scheduler, droplet = self._scheduler, self._droplet
        if scheduler.now >= command.start_by:
            self._end(command, error=shim_errors.TokenStale("the command's start-by time has passed"))
        elif command.instance_id in droplet.locks:
            scheduler.after(scheduler.rng.uniform(0.05, 1), lambda: self._take_lock(command))
        else:
            droplet.locks.add(command.instance_id)
            if command.route in CHANGES:
                self._oracle.begins(droplet, command)
            scheduler.log(f"begins {command}")
            if self._occurs("engine slow"):
                scheduler.after(scheduler.rng.uniform(0, 40), lambda: self._finish(command))
            else:
                self._finish(command)

    def _finish(self, command: Command) -> None:
        self._droplet.locks.discard(command.instance_id)
        self._act(command)

    def _act(self, command: Command) -> None:
        try:
            if command.route is routes.RELAY and self._occurs("not answering"):
                raise shim_errors.NotAnswering("connection refused")
            if command.route is routes.START and self._occurs("start fails"):
                raise shim_errors.StartFailed("exec: no such file or directory")
            if command.route in (routes.START, routes.RESTART) and self._occurs("port kept"):
                self._droplet.keep_ports(command.name, self._scheduler.rng.random())
            if command.route is routes.STATUS:
                self._end(command, answer=self._droplet.listing(limits=command.body is True))
            else:
                self._end(command, answer=self._droplet.act(command.route, command.name, command.body))
        except shim_errors.ShimError as error:
            self._end(command, error=error)

    def _end(self, command: Command, answer: Any = None, error: Exception | None = None) -> None:
        self._scheduler.log(f"ends {command}: {error or 'done'}")
        command.answer, command.error, command.done = answer, error, True

    def _occurs(self, fault: str) -> bool:
        return self._scheduler.faults.occurs(self._scheduler.rng, fault)
