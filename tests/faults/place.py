"""One toolbox and its world, shared by processes: store and queue in files, the droplet and the clock in this one."""

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
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Create
from functions.lifecycle.reconcile import sweep as reconcile_sweep
from functions.lifecycle.repository import encode, toolbox_ref
from functions.lifecycle.toolbox import read as toolboxes
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.fakes.digitalocean import FakeDigitalOcean
from tests.fakes.droplet import VERBS, FakeDroplet
from tests.fakes.mcp_server import Server
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX
from tests.faults import operations, worker

# Workers are forked from a process that has imported everything and has opened nothing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "tests.faults.worker"])
LIFETIME_SECONDS = 60


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """No two are the same, so that events have an order."""
        self.time += timedelta(milliseconds=1)
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Droplet(FakeDroplet):
    """Keeps a record of what was really changed on it, whoever asked.

    `keeps`: of how many more containers, each of another spec, its engine will keep a drawn host port for ever.
    """

    clock: Clock = field(default_factory=Clock)
    acts: list[str] = field(default_factory=list)
    keeps: int = 0

    def command(self, route: routes.Route, **arguments: Any) -> Any:
        answer = super().command(route, **arguments)
        if isinstance(answer, messages.Acted) and answer.changed:
            name = answer.container.name if answer.container else arguments["name"]
            self.acts.append(f"{route.method} {route.path.rpartition('/')[2]} {name.rpartition('-')[2]}")
        running = Counter(c.instance_id for c in self.containers.values() if c.state == "running")
        assert max(running.values(), default=0) <= 1, f"two containers of one instance run: {self.running()}"
        return answer

    def pull(self, body: messages.Pull, **arguments: Any) -> messages.Image:
        # Long enough for progress to be shown, which is a commit in the middle of a command.
        self.clock.pause(6)
        return super().pull(body, **arguments)

    def _start(self, name: str, _: Any) -> messages.Acted:
        if self._found(name).image == operations.BROKEN:
            raise shim_errors.StartFailed("exec: no such file")
        return super()._start(name, _)

    def _bind(self, container: messages.Container) -> None:
        drawn = {port.host_port for port in container.ports if port.host_port in operations.DRAWN}
        if self.keeps and drawn and not drawn & self.held_ports:
            self.keeps -= 1
            self.held_ports.add(min(drawn))
        super()._bind(container)


class Place:
    """`ports` are this process's own way into it, for what stood before and for what comes after."""

    def __init__(
        self, folder: Path | None, clock: Clock, droplet: Droplet, digitalocean: FakeDigitalOcean, seed: int
    ) -> None:
        self.folder, self.clock, self.droplet, self.digitalocean = folder, clock, droplet, digitalocean
        self.store = SqliteStore(str(folder / "store.db") if folder else ":memory:")
        self.queue = SqliteQueue(str(folder / "queue.db") if folder else ":memory:")
        self.deps = worker.seeded(seed, self.store, self.queue, droplet, digitalocean, clock.now, clock.pause)
        self.late: list[tuple[str, dict[str, Any]]] = []

    def sweep(self, seconds: float) -> None:
        self.clock.pause(seconds)
        reconcile_sweep.sweep(self.deps)
        operations.deliver(self.deps, self.queue)

    def cut(self, operation: str, keyed: bool, cut: worker.Cut) -> int | None:
        """Run the operation in a process that is killed at `cut`; how that process ended."""
        ours, theirs = PROCESSES.Pipe()
        process = PROCESSES.Process(target=worker.main, args=(theirs, self.folder, operation, keyed, cut))
        process.start()
        theirs.close()
        # Killed with something unread, or not.
        with suppress(EOFError, ConnectionResetError):
            while True:
                self._serve(ours, *ours.recv())
        ours.close()
        process.join(LIFETIME_SECONDS)
        return process.exitcode

    def reached(self, address: str | None, fingerprint: str | None) -> FakeDroplet:
        """The droplet there, as the shim is spoken to."""
        return self.droplet

    def arrive_late(self) -> None:
        """What the dead worker had sent reaches the droplet now."""
        for kind, arguments in self.late:
            with suppress(shim_errors.TokenStale):
                self._answer(kind, arguments, lambda progress: None)
                raise AssertionError(f"{kind} began after its start-by time")

    def _serve(self, connection: Connection, kind: str, arguments: dict[str, Any]) -> None:
        def on_progress(progress: messages.Progress) -> None:
            with suppress(EOFError, ConnectionError):
                connection.send(("progress", progress))
                # The worker may have more to ask while it takes this in.
                while (request := connection.recv())[0] != "heard":
                    self._serve(connection, *request)

        try:
            answer = "answer", self._answer(kind, arguments, on_progress)
        except (shim_errors.ShimError, ToolboxesError) as error:
            answer = "raised", error
        with suppress(ConnectionError):
            connection.send(answer)

    def _answer(self, kind: str, arguments: dict[str, Any], on_progress: Callable[[messages.Progress], None]) -> Any:
        droplet = self.reached(*arguments.pop("shim", (None, None)))
        match kind:
            case "now":
                return self.clock.now()
            case "pause":
                return self.clock.pause(**arguments)
            case "late":
                return self.late.append((arguments["kind"], arguments["arguments"]))
            case "droplets":
                return getattr(self.digitalocean, arguments["call"])(*arguments["arguments"])
            case "command":
                return droplet.command(VERBS[arguments.pop("route")], **arguments)
            case "status":
                return droplet.status(**arguments)
            case "pull":
                return droplet.pull(**arguments, on_progress=on_progress)
        raise AssertionError(f"the worker did not come to its cut: {kind} {arguments}")


def standing(operation: str, folder: Path | None = None) -> Place:
    """A toolbox as it is before the operation begins."""
    clock = Clock()
    droplet = Droplet(now=clock.now, clock=clock, mcp=Server(["a", "b"]))
    droplet.images |= {operations.SECOND, operations.BROKEN}
    droplet.registry[operations.PULLED] = None
    place = Place(folder, clock, droplet, FakeDigitalOcean(now=clock.now), 1)
    toolbox = Toolbox(
        id=TOOLBOX, account=ACCOUNT, name="box", status=ToolboxStatus.ACTIVE, region="fra1", size="s-1vcpu-1gb",
        image="debian-12-x64", created_at=clock.now(), updated_at=clock.now(), address="192.0.2.1",
        fingerprint="0" * 64,
    )  # fmt: skip
    place.store.commit([Create(toolbox_ref(toolbox.id), encode(toolbox))])
    toolboxes.refresh(place.deps, CALLER, TOOLBOX)
    operations.OPERATIONS[operation].before(place)
    droplet.acts.clear()
    return place


def copied(place: Place, folder: Path) -> Place:
    """The same world once more, to be changed apart from the first."""
    assert place.folder
    shutil.copytree(place.folder, folder)
    clock, droplet, digitalocean = copy.deepcopy((place.clock, place.droplet, place.digitalocean))
    return Place(folder, clock, droplet, digitalocean, 3)
