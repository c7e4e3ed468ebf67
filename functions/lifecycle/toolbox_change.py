"""What an account asks of a toolbox that it has: the intent is written, and a worker makes it so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from functions.domain import event
from functions.domain.caller import Caller
from functions.domain.errors import Contended, NotAllowedNow, NotFound
from functions.domain.toolbox import Toolbox
from functions.domain.toolbox_want import want_gone, want_rebuilt, want_shim
from functions.lifecycle.documents import load, recording_toolbox, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff, stamped, write
from functions.lifecycle.instances import owned
from functions.lifecycle.once import begun
from functions.lifecycle.ports import Ports, Write
from functions.lifecycle.provision import Answer, hint, repeated
from functions.lifecycle.replay import Replay, recall
from functions.lifecycle.standing import refuse_unless_active


@dataclass(frozen=True, slots=True)
class AskedOfToolbox:
    """Who asks, of which toolbox, and under which Idempotency-Key."""

    caller: Caller
    toolbox_id: str
    replay: Replay[Toolbox] | None = None


def rebuild(ports: Ports, asked: AskedOfToolbox) -> Answer:
    """Raises AccountNotActive, NotAllowedNow."""

    def ask(toolbox: Toolbox) -> Toolbox:
        refuse_unless_active(toolbox)
        return want_rebuilt(toolbox)

    return change(ports, asked, "rebuild", ask)


def deprovision(ports: Ports, asked: AskedOfToolbox) -> Answer:
    return change(ports, asked, "deprovision", want_gone)


def upgrade_shim(ports: Ports, asked: AskedOfToolbox, image: str) -> Answer:
    return change(ports, asked, "upgrade_shim", lambda toolbox: want_shim(toolbox, image))


def change(ports: Ports, asked: AskedOfToolbox, verb: str, ask: Callable[[Toolbox], Toolbox]) -> Answer:
    """Whoever holds the lease takes the intent up at its next save, else the next worker does."""
    for attempt in range(ATTEMPTS):
        known, expired = recall(ports, asked.replay)
        if known:
            return repeated(ports, known)
        found = load(Toolbox, ports.store.get([toolbox_ref(asked.toolbox_id)])[0])
        try:
            toolbox = owned(asked.caller, asked.toolbox_id, found)
            wanted = ask(toolbox)
        except (NotFound, NotAllowedNow):
            # What stands in the way may be this request's own first attempt.
            known, _ = recall(ports, asked.replay)
            if known:
                return repeated(ports, known)
            raise
        if wanted == toolbox:
            begun(ports, asked.replay, lambda: asked.toolbox_id)
            return toolbox
        intent = stamped(ports, replace(wanted, due_at=ports.now()))
        told = event.toolbox_requested(toolbox, intent, verb, asked.caller.subject, ports.now())
        writes: list[Write] = [recording_toolbox(intent, told)]
        writes += [asked.replay.asked(intent.id, ports.now(), expired)] if asked.replay else []
        if write(ports, intent, found, writes):
            hint(ports, intent.id)
            return intent
        backoff(ports, attempt)
    raise Contended(f"toolbox {asked.toolbox_id} is being changed by others; ask again")
