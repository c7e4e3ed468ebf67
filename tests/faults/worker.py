"""A worker in a process of its own that is ended by SIGKILL at one of its external effects.

Its store and queue are files; the droplet and the clock live in the process that started it and outlive it. Nothing is
raised where it is cut and nothing is cleaned up: whatever it held in memory is gone.
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
from functions.domain.toolbox.droplet import Droplet, NewDroplet
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import (
    EMPTY,
    Dependencies,
    Droplets,
    Query,
    Queue,
    Ref,
    Shims,
    Snapshot,
    Store,
    Task,
    Version,
    Write,
)
from shim.contract import messages
from shim.contract.routes import Route
from tests.fakes.droplet import VERBS
from tests.fakes.world import DOCUMENTS, VAULT
from tests.faults.operations import OPERATIONS
from tests.faults.toolbox_operations import TOOLBOX_OPERATIONS

# before   the effect never happened
# unheard  it happens, and the worker does not live to hear of it
# heard    the worker heard of it, and did nothing more
# late     like unheard, but the command reaches the droplet only after others have taken over
VARIANTS = ("before", "unheard", "heard", "late")

T = TypeVar("T")


@dataclass(frozen=True)
class Cut:
    """`effect` counts from 1."""

    effect: int
    variant: str


@dataclass
class Effects:
    """Counts what the worker does to the outside, by name, and ends this process at the cut."""

    cut: Cut | None = None
    names: list[str] = field(default_factory=list)

    def do(self, name: str, act: Callable[[], T], send: Callable[[str], None] | None = None) -> T:
        """`send` lets the act go out without waiting for what comes of it."""
        self.names.append(name)
        variant = self.cut.variant if self.cut and self.cut.effect == len(self.names) else ""
        if variant == "before":
            _die()
        if variant in ("unheard", "late") and send:
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


@dataclass(frozen=True)
class CutStore:
    inner: Store
    effects: Effects

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        return self.effects.do("get", lambda: self.inner.get(refs))

    def query(self, query: Query) -> list[Snapshot]:
        return self.effects.do("query", lambda: self.inner.query(query))

    def total(self, query: Query, field: str) -> tuple[int, int]:
        return self.effects.do("query", lambda: self.inner.total(query, field))

    def commit(self, writes: Sequence[Write]) -> Version:
        return self.effects.do("commit", lambda: self.inner.commit(writes))


@dataclass(frozen=True)
class CutQueue:
    inner: Queue
    effects: Effects

    def publish(self, tasks: Sequence[Task]) -> None:
        self.effects.do("publish", lambda: self.inner.publish(tasks))


@dataclass(frozen=True)
class CutShim:
    """Shims and Shim in one, as the fake droplet is. `send` as in Effects.do, with the call's name and arguments."""

    inner: Any
    effects: Effects
    send: Callable[[str, str, dict[str, Any]], None] | None = None

    def of(self, toolbox: Toolbox) -> CutShim:
        inner = self.inner.of(toolbox)
        return CutShim(inner, self.effects, inner.send if self.send else None)

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
        verb = next(verb for verb, known in VERBS.items() if known is route)
        return self._do(verb, "command", start_by=start_by, name=name, body=body, query=query, route=route)

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        asked: dict[str, Any] = {"start_by": start_by, "unless": unless, "limits": limits}
        answer: tuple[messages.Status | None, str] = self._do("status", "status", **asked)
        return answer

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        image: messages.Image = self._do("pull", "pull", body=body, start_by=start_by, on_progress=on_progress)
        return image

    def _do(self, effect: str, method: str, **arguments: Any) -> Any:
        send = self.send
        going = (lambda variant: send(variant, method, arguments)) if send else None
        return self.effects.do(effect, lambda: getattr(self.inner, method)(**arguments), going)


@dataclass(frozen=True)
class CutDroplets:
    """DigitalOcean's API; `send` as in CutShim."""

    inner: Any
    effects: Effects
    send: Callable[[str, str, dict[str, Any]], None] | None = None

    def create(self, new: NewDroplet) -> Droplet:
        made: Droplet = self._do("create", new)
        return made

    def get(self, droplet_id: str) -> Droplet | None:
        found: Droplet | None = self._do("get", droplet_id)
        return found

    def named(self, name: str) -> list[Droplet]:
        found: list[Droplet] = self._do("named", name)
        return found

    def tagged(self, tag: str) -> list[Droplet]:
        found: list[Droplet] = self._do("tagged", tag)
        return found

    def destroy(self, droplet_id: str) -> bool:
        there: bool = self._do("destroy", droplet_id)
        return there

    def open_firewall(self, name: str) -> None:
        self._do("open_firewall", name)

    def remove_firewall(self, name: str) -> None:
        self._do("remove_firewall", name)

    def _do(self, call: str, argument: object) -> Any:
        send = self.send
        going = (lambda variant: send(variant, "droplets", {"call": call, "arguments": (argument,)})) if send else None
        return self.effects.do(f"droplet {call}", lambda: getattr(self.inner, call)(argument), going)


def seeded(
    seed: int,
    store: Store,
    queue: Queue,
    shims: Shims,
    droplets: Droplets,
    now: Callable[[], datetime],
    pause: Callable[[float], None],
) -> Dependencies:
    """Two seeds give different ids and draws; one gives the same ones again."""
    ids, draws = itertools.count(seed * 1_000_000), random.Random(seed)
    new_id = lambda: str(uuid.UUID(int=next(ids), version=4))  # noqa: E731
    return Dependencies(store, queue, shims, droplets, now, new_id, pause, draws.random, VAULT, DOCUMENTS)


def through(deps: Dependencies, effects: Effects, shims: Shims, droplets: Droplets) -> Dependencies:
    """`ports` with every effect counted, and cut where it is to be."""
    store, queue = CutStore(deps.store, effects), CutQueue(deps.queue, effects)
    return replace(deps, store=store, queue=queue, shims=shims, droplets=droplets)


@dataclass(frozen=True)
class Wire:
    """The droplet and the clock of the process that started this one."""

    connection: Connection
    # Whose shim is spoken to: its address and fingerprint.
    shim: tuple[str | None, str | None] = (None, None)

    def of(self, toolbox: Toolbox) -> Wire:
        return replace(self, shim=(toolbox.address, toolbox.fingerprint))

    def command(self, **arguments: Any) -> Any:
        return self.ask("command", arguments | {"shim": self.shim})

    def status(self, **arguments: Any) -> Any:
        return self.ask("status", arguments | {"shim": self.shim})

    def pull(self, *, on_progress: Callable[[messages.Progress], None], **arguments: Any) -> Any:
        return self.ask("pull", arguments | {"shim": self.shim}, on_progress)

    def ask(
        self, kind: str, arguments: dict[str, Any], on_progress: Callable[[messages.Progress], None] | None = None
    ) -> Any:
        self.connection.send((kind, _packed(arguments)))
        while True:
            said, value = self.connection.recv()
            if said == "progress" and on_progress:
                on_progress(value)
                self.connection.send(("heard", {}))
            elif said == "raised":
                raise value
            else:
                return value

    def send(self, variant: str, method: str, arguments: dict[str, Any]) -> None:
        """A command on its way: nobody waits for its answer."""
        packed = _packed(arguments) | ({} if method == "droplets" else {"shim": self.shim})
        self.connection.send(("late", {"kind": method, "arguments": packed}) if variant == "late" else (method, packed))


@dataclass(frozen=True)
class DropletsWire:
    """DigitalOcean as the process that started this one has it."""

    wire: Wire

    def __getattr__(self, call: str) -> Callable[..., Any]:
        return lambda *arguments: self.wire.ask("droplets", {"call": call, "arguments": arguments})


def _packed(arguments: dict[str, Any]) -> dict[str, Any]:
    """As it can travel: a Route is known by its identity, so it goes by its verb; a callback stays."""
    packed = {name: value for name, value in arguments.items() if name != "on_progress"}
    if "route" in packed:
        packed["route"] = next(verb for verb, known in VERBS.items() if known is packed["route"])
    return packed


def main(connection: Connection, folder: Path, operation: str, keyed: bool, cut: Cut) -> None:
    """The process's whole life. Where `cut` does not end it, it says so."""
    wire, effects = Wire(connection), Effects(cut)
    store, queue = SqliteStore(str(folder / "store.db")), SqliteQueue(str(folder / "queue.db"))
    shim = CutShim(wire, effects, wire.send)
    droplets = CutDroplets(DropletsWire(wire), effects, wire.send)

    def pause(seconds: float) -> None:
        wire.ask("pause", {"seconds": seconds})

    bare = seeded(2, store, queue, shim, droplets, lambda: wire.ask("now", {}), pause)
    try:
        (OPERATIONS | TOOLBOX_OPERATIONS)[operation].run(through(bare, effects, shim, droplets), queue, keyed)
        connection.send(("ended", {"after": effects.names}))
    except Exception:
        connection.send(("failed", {"trace": traceback.format_exc()}))
