"""The environment of one toolbox under test.

Worker processes share its store and queue, which are files. The droplet, DigitalOcean's API and the clock live in this
process, which serves them to a worker over a pipe.
"""

from __future__ import annotations

import copy
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.store_sqlite import SqliteStore
from functions.domain.errors import ToolboxesError
from functions.lifecycle.dependencies import Create
from functions.lifecycle.reconcile import sweep as reconcile_sweep
from functions.lifecycle.repository import toolbox_ref
from functions.lifecycle.toolbox import read as toolboxes
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.fakes.digitalocean import FakeDigitalOcean
from tests.fakes.droplet import FakeDroplet
from tests.fakes.mcp_server import Server
from tests.fakes.shim import VERBS
from tests.fakes.stored import encode
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, active_toolbox
from tests.faults import crashing_worker, operations
from tests.faults.crashing_worker import CrashPoint

# Workers are forked from a server process that has imported everything and opened nothing: a fork of this process would
# inherit its SQLite connections and threads, and a fresh interpreter would take half a second for its imports.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "tests.faults.crashing_worker"])
WORKER_TIMEOUT_SECONDS = 60


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return a time that differs from every other one, so that events have an order."""
        self.time += timedelta(milliseconds=1)
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Droplet(FakeDroplet):
    """Records in `changes` what was changed on it, whoever sent the command.

    `port_conflicts`: for how many more containers, each of another spec, the engine will find an allocated host port
    in use, for ever.
    """

    clock: Clock = field(default_factory=Clock)
    changes: list[str] = field(default_factory=list)
    port_conflicts: int = 0

    def command(self, route: routes.Route, **arguments: Any) -> Any:
        answer = super().command(route, **arguments)
        if isinstance(answer, messages.ActionResult) and answer.changed:
            name = answer.container.name if answer.container else arguments["name"]
            self.changes.append(f"{route.method} {route.path.rpartition('/')[2]} {name.rpartition('-')[2]}")
        running = Counter(c.instance_id for c in self.containers.values() if c.state == "running")
        assert max(running.values(), default=0) <= 1, f"two containers of one instance run: {self.running()}"
        return answer

    def pull(self, body: messages.Pull, **arguments: Any) -> messages.Image:
        # Long enough for progress to be saved, which is a commit in the middle of a command.
        self.clock.pause(6)
        return super().pull(body, **arguments)

    def _start(self, name: str, _: Any) -> messages.ActionResult:
        if self._found(name).image == operations.BROKEN:
            raise shim_errors.StartFailed("exec: no such file")
        return super()._start(name, _)

    def _bind(self, container: messages.Container) -> None:
        allocated = {port.host_port for port in container.ports if port.host_port in operations.ALLOCATED}
        if self.port_conflicts and allocated and not allocated & self.held_ports:
            self.port_conflicts -= 1
            self.held_ports.add(min(allocated))
        super()._bind(container)


class Environment:
    """`deps` are this process's own dependencies: they prepare the state before a crash and recover after it."""

    def __init__(
        self, folder: Path | None, clock: Clock, droplet: Droplet, digitalocean: FakeDigitalOcean, seed: int
    ) -> None:
        self.folder, self.clock, self.droplet, self.digitalocean = folder, clock, droplet, digitalocean
        self.store = SqliteStore(str(folder / "store.db") if folder else ":memory:")
        self.queue = SqliteQueue(str(folder / "queue.db") if folder else ":memory:")
        self.deps = crashing_worker.seeded_dependencies(
            seed, self.store, self.queue, droplet, digitalocean, clock.now, clock.pause
        )
        self.delayed: list[tuple[str, dict[str, Any]]] = []

    def sweep(self, seconds: float) -> None:
        """Let `seconds` pass, sweep, and deliver what the sweep published."""
        self.clock.pause(seconds)
        reconcile_sweep.sweep(self.deps)
        operations.deliver(self.deps, self.queue)

    def run_until_crash(self, operation: str, keyed: bool, crash_point: CrashPoint) -> int | None:
        """Run the operation in a process that is killed at `crash_point`; return that process's exit code."""
        ours, theirs = PROCESSES.Pipe()
        arguments = (theirs, self.folder, operation, keyed, crash_point)
        process = PROCESSES.Process(target=crashing_worker.main, args=arguments)
        process.start()
        theirs.close()
        # A worker that dies with unread bytes in the pipe resets the connection; one without ends it.
        with suppress(EOFError, ConnectionResetError):
            while True:
                self._serve(ours, *ours.recv())
        ours.close()
        process.join(WORKER_TIMEOUT_SECONDS)
        return process.exitcode

    def droplet_at(self, address: str | None, fingerprint: str | None) -> FakeDroplet:
        """Return the droplet whose shim answers there."""
        return self.droplet

    def deliver_delayed(self) -> None:
        """Let the commands that the dead worker had sent reach the droplet now: each must come too late."""
        for kind, arguments in self.delayed:
            with suppress(shim_errors.TokenStale):
                self._answer(kind, arguments, lambda progress: None)
                raise AssertionError(f"{kind} began after its start-by time")

    def _serve(self, connection: Connection, kind: str, arguments: dict[str, Any]) -> None:
        def on_progress(progress: messages.Progress) -> None:
            with suppress(EOFError, ConnectionError):
                connection.send(("progress", progress))
                # The worker may send requests of its own while it handles the progress.
                while (request := connection.recv())[0] != "progress received":
                    self._serve(connection, *request)

        try:
            answer = "answer", self._answer(kind, arguments, on_progress)
        except (shim_errors.ShimError, ToolboxesError) as error:
            answer = "raised", error
        with suppress(ConnectionError):
            connection.send(answer)

    def _answer(self, kind: str, arguments: dict[str, Any], on_progress: Callable[[messages.Progress], None]) -> Any:
        droplet = self.droplet_at(*arguments.pop("shim", (None, None)))
        match kind:
            case "now":
                return self.clock.now()
            case "pause":
                return self.clock.pause(**arguments)
            case "delayed":
                return self.delayed.append((arguments["kind"], arguments["arguments"]))
            case "droplets":
                return getattr(self.digitalocean, arguments["call"])(*arguments["arguments"])
            case "command":
                return droplet.command(VERBS[arguments.pop("route")], **arguments)
            case "status":
                return droplet.status(**arguments)
            case "pull":
                return droplet.pull(**arguments, on_progress=on_progress)
        raise AssertionError(f"the worker did not reach its crash point: {kind} {arguments}")


def prepare(operation: str, folder: Path | None = None) -> Environment:
    """Return a toolbox in the state that the operation starts from; the store is in memory without `folder`."""
    clock = Clock()
    droplet = Droplet(now=clock.now, clock=clock, mcp=Server(["a", "b"]))
    droplet.images |= {operations.SECOND, operations.BROKEN}
    droplet.registry[operations.PULLED] = None
    env = Environment(folder, clock, droplet, FakeDigitalOcean(now=clock.now), 1)
    toolbox = active_toolbox(TOOLBOX, ACCOUNT, clock.now())
    env.store.commit([Create(toolbox_ref(toolbox.id), encode(toolbox))])
    toolboxes.refresh(env.deps, CALLER, TOOLBOX)
    operations.OPERATIONS[operation].before(env)
    droplet.changes.clear()
    return env


def clone(env: Environment, folder: Path) -> Environment:
    """Copy the environment into `folder`, so that preparing it once serves many crash points."""
    assert env.folder
    shutil.copytree(env.folder, folder)
    clock, droplet, digitalocean = copy.deepcopy((env.clock, env.droplet, env.digitalocean))
    return Environment(folder, clock, droplet, digitalocean, 3)
