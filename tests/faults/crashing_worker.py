"""A worker in a process of its own, which kills itself with SIGKILL at one of its external effects.

Its store and queue are files. The droplet, DigitalOcean's API and the clock live in the parent process and outlive the
worker. SIGKILL rather than an exception, because an exception would run `except` and `finally` blocks that a dead
process does not run: whatever the worker held in memory must be lost.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import traceback
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.store_sqlite import SqliteStore
from functions.adapters.toolbox_shim import ShimTransports, ToolboxShims
from functions.domain.toolbox.droplet import Droplet, NewDroplet
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Droplets, Queue, Store, Task
from tests.fakes.shim import ForwardingShim, verb_of
from tests.fakes.store import ForwardingStore
from tests.fakes.world import DOCUMENTS, VAULT
from tests.faults.operations import OPERATIONS
from tests.faults.toolbox_operations import TOOLBOX_OPERATIONS

# Where, relative to an effect, the worker dies:
#   before          the effect never happens
#   unacknowledged  the effect happens, and the worker dies before it receives the answer
#   acknowledged    the worker receives the answer and does nothing more
#   delayed         as unacknowledged, but the command reaches the droplet only after another worker has taken over
VARIANTS = ("before", "unacknowledged", "acknowledged", "delayed")

T = TypeVar("T")
# Sends a call without waiting for its answer: (variant, method, arguments).
Send = Callable[[str, str, dict[str, Any]], None]


@dataclass(frozen=True)
class CrashPoint:
    """`effect` is the number of the external effect, counted from 1; `variant` is one of VARIANTS."""

    effect: int
    variant: str


@dataclass
class Effects:
    """Records the names of the worker's external effects, and kills this process at the crash point."""

    crash_point: CrashPoint | None = None
    names: list[str] = field(default_factory=list)

    def perform(self, name: str, act: Callable[[], T], send: Callable[[str], None] | None = None) -> T:
        """Perform `act`, which is one external effect, and return its result.

        `send` starts the same effect without waiting for its result; it is called with the variant where the worker
        is to die before the answer.
        """
        self.names.append(name)
        point = self.crash_point
        variant = point.variant if point and point.effect == len(self.names) else ""
        if variant == "before":
            _die()
        if variant in ("unacknowledged", "delayed") and send:
            send(variant)
            _die()
        try:
            return act()
        finally:
            if variant:
                _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL has no handler")


class CrashingStore(ForwardingStore):
    def __init__(self, inner: Store, effects: Effects) -> None:
        super().__init__(inner)
        self.effects = effects

    def around(self, method: str, call: Callable[[], T]) -> T:
        return self.effects.perform("query" if method == "total" else method, call)


@dataclass(frozen=True)
class CrashingQueue:
    inner: Queue
    effects: Effects

    def publish(self, tasks: Sequence[Task]) -> None:
        self.effects.perform("publish", lambda: self.inner.publish(tasks))


@dataclass(frozen=True)
class CrashingShim(ForwardingShim):
    """Both `ShimTransports` and `ShimTransport`, as the fake droplet is."""

    inner: Any
    effects: Effects
    send: Send | None = None

    def for_toolbox(self, toolbox: Toolbox) -> CrashingShim:
        inner = self.inner.for_toolbox(toolbox)
        return CrashingShim(inner, self.effects, inner.send if self.send else None)

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        effect = verb_of(arguments["route"]) if method == "command" else method
        send = self.send
        sending = (lambda variant: send(variant, method, arguments)) if send else None
        return self.effects.perform(effect, lambda: getattr(self.inner, method)(**arguments), sending)


@dataclass(frozen=True)
class CrashingDroplets:
    """DigitalOcean's API."""

    inner: Any
    effects: Effects
    send: Send | None = None

    def create(self, new: NewDroplet) -> Droplet:
        made: Droplet = self._perform("create", new)
        return made

    def get(self, droplet_id: str) -> Droplet | None:
        found: Droplet | None = self._perform("get", droplet_id)
        return found

    def list_by_name(self, name: str) -> list[Droplet]:
        found: list[Droplet] = self._perform("list_by_name", name)
        return found

    def list_by_tag(self, tag: str) -> list[Droplet]:
        found: list[Droplet] = self._perform("list_by_tag", tag)
        return found

    def destroy(self, droplet_id: str) -> bool:
        existed: bool = self._perform("destroy", droplet_id)
        return existed

    def open_firewall(self, name: str) -> None:
        self._perform("open_firewall", name)

    def remove_firewall(self, name: str) -> None:
        self._perform("remove_firewall", name)

    def _perform(self, call: str, argument: object) -> Any:
        send, arguments = self.send, {"call": call, "arguments": (argument,)}
        sending = (lambda variant: send(variant, "droplets", arguments)) if send else None
        return self.effects.perform(f"droplet {call}", lambda: getattr(self.inner, call)(argument), sending)


def seeded_dependencies(
    seed: int,
    store: Store,
    queue: Queue,
    shims: ShimTransports,
    droplets: Droplets,
    now: Callable[[], datetime],
    pause: Callable[[float], None],
) -> Dependencies:
    """Build dependencies whose ids and random numbers are a function of `seed`."""
    ids, random_numbers = itertools.count(seed * 1_000_000), random.Random(seed)
    new_id = lambda: str(uuid.UUID(int=next(ids), version=4))  # noqa: E731
    return Dependencies(
        store, queue, ToolboxShims(shims), droplets, now, new_id, pause, random_numbers.random, VAULT, DOCUMENTS
    )


def with_effects(deps: Dependencies, effects: Effects, shims: ShimTransports, droplets: Droplets) -> Dependencies:
    """Return `deps` with every effect recorded in `effects`, and the crash point of `effects` armed."""
    store, queue = CrashingStore(deps.store, effects), CrashingQueue(deps.queue, effects)
    return replace(deps, store=store, queue=queue, shims=ToolboxShims(shims), droplets=droplets)


@dataclass(frozen=True)
class RemoteShim(ForwardingShim):
    """The droplets and the clock of the parent process, over a pipe.

    `shim` names the shim that is addressed, by the toolbox's address and fingerprint.
    """

    connection: Connection
    shim: tuple[str | None, str | None] = (None, None)

    def for_toolbox(self, toolbox: Toolbox) -> RemoteShim:
        return replace(self, shim=(toolbox.address, toolbox.fingerprint))

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        return self.request(method, arguments | {"shim": self.shim})

    def request(self, kind: str, arguments: dict[str, Any]) -> Any:
        """Send a request to the parent and return its answer, or raise the error that it answers with."""
        on_progress = arguments.get("on_progress")
        self.connection.send((kind, _picklable(arguments)))
        while True:
            answer, value = self.connection.recv()
            if answer == "progress" and on_progress:
                on_progress(value)
                self.connection.send(("progress received", {}))
            elif answer == "raised":
                raise value
            else:
                return value

    def send(self, variant: str, method: str, arguments: dict[str, Any]) -> None:
        """Send a command whose answer nobody will receive."""
        packed = _picklable(arguments) | ({} if method == "droplets" else {"shim": self.shim})
        delayed = {"kind": method, "arguments": packed}
        self.connection.send(("delayed", delayed) if variant == "delayed" else (method, packed))


@dataclass(frozen=True)
class RemoteDroplets:
    """DigitalOcean's API in the parent process."""

    remote: RemoteShim

    def __getattr__(self, call: str) -> Callable[..., Any]:
        return lambda *arguments: self.remote.request("droplets", {"call": call, "arguments": arguments})


def _picklable(arguments: dict[str, Any]) -> dict[str, Any]:
    """Replace the Route, which compares by identity, by its verb, and leave out the callback."""
    packed = {name: value for name, value in arguments.items() if name != "on_progress"}
    if "route" in packed:
        packed["route"] = verb_of(packed["route"])
    return packed


def main(connection: Connection, folder: Path, operation: str, keyed: bool, crash_point: CrashPoint) -> None:
    """Run the operation until the crash point; report where the operation ended without reaching it."""
    remote, effects = RemoteShim(connection), Effects(crash_point)
    store, queue = SqliteStore(str(folder / "store.db")), SqliteQueue(str(folder / "queue.db"))
    shim = CrashingShim(remote, effects, remote.send)
    droplets = CrashingDroplets(RemoteDroplets(remote), effects, remote.send)

    def now() -> datetime:
        time: datetime = remote.request("now", {})
        return time

    def pause(seconds: float) -> None:
        remote.request("pause", {"seconds": seconds})

    deps = seeded_dependencies(2, store, queue, shim, droplets, now, pause)
    try:
        (OPERATIONS | TOOLBOX_OPERATIONS)[operation].run(with_effects(deps, effects, shim, droplets), queue, keyed)
        connection.send(("ended", {"after": effects.names}))
    except Exception:
        connection.send(("failed", {"trace": traceback.format_exc()}))
