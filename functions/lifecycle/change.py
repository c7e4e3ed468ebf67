"""What an account asks of an instance: the intent is written, then made so within the request's time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from functions.domain import event, lease
from functions.domain.caller import Caller
from functions.domain.errors import Contended, NotAllowedNow, NotFound
from functions.domain.instance import DesiredState, Instance
from functions.domain.toolbox import Toolbox
from functions.domain.want import want
from functions.lifecycle.converge import Errand, claimed, converge
from functions.lifecycle.documents import Loaded, instance_ref, load, recording, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, Hold, backoff, stamped, write
from functions.lifecycle.instances import WAIT_SECONDS, find
from functions.lifecycle.ports import Ports, Write
from functions.lifecycle.replay import Known, Replay, recall
from functions.lifecycle.standing import refuse_unless_active

# What may be asked of an instance whose account is suspended: nothing of it comes to run by that.
ASLEEP = ("stop", "delete", "rotate")
REQUEST_BUDGET = timedelta(seconds=25)

# An instance as it stands now, or the (status, body) that the same request was answered with before.
Answer = Instance | tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for which instance (id or name), and under which Idempotency-Key."""

    caller: Caller
    toolbox_id: str
    key: str
    replay: Replay[Instance] | None = None


def start(ports: Ports, asked: Asked) -> Answer:
    return change(ports, asked, "start", lambda i: want(i, DesiredState.RUNNING))


def stop(ports: Ports, asked: Asked) -> Answer:
    return change(ports, asked, "stop", lambda i: want(i, DesiredState.STOPPED))


def restart(ports: Ports, asked: Asked) -> Answer:
    return change(ports, asked, "restart", lambda i: want(i, DesiredState.RUNNING, fresh=True))


def delete(ports: Ports, asked: Asked) -> Answer:
    return change(ports, asked, "delete", lambda i: want(i, DesiredState.DELETED))


def change(
    ports: Ports,
    asked: Asked,
    verb: str,
    ask: Callable[[Instance], Instance],
    also: Callable[[Instance, Instance], list[Write]] = lambda before, after: [],
) -> Answer:
    """Write the intent, with the lease where it is free, and converge; else let the holder take it up.

    `also`: what else the commit must hold, of the instance before and after.
    """
    until = ports.now() + REQUEST_BUDGET
    for attempt in range(ATTEMPTS):
        known, expired = recall(ports, asked.replay)
        if known:
            return repeated(ports, known, until)
        try:
            toolbox, found = find(ports, asked.caller, asked.toolbox_id, asked.key)
            if verb not in ASLEEP:
                refuse_unless_active(toolbox)
            wanted = _wanted(found.value, verb, ask)
        except (NotFound, NotAllowedNow):
            # What stands in the way may be this request's own first attempt.
            known, _ = recall(ports, asked.replay)
            if known:
                return repeated(ports, known, until)
            raise
        free = lease.is_free(found.value.lease, ports.now())
        intent = claimed(ports, wanted) if free else stamped(ports, replace(wanted, due_at=ports.now()))
        told = event.requested(found.value, intent, verb, asked.caller.subject, ports.now())
        writes = [recording(intent, told), *also(found.value, intent)]
        writes += [asked.replay.asked(intent.id, ports.now(), expired)] if asked.replay else []
        written = write(ports, intent, found, writes)
        if written and free:
            return converge(ports, Hold(ports, written), toolbox, Errand(until, replay=asked.replay))
        if written:
            return watch(ports, written.value, until)
        backoff(ports, attempt)
    raise Contended(f"instance {asked.key!r} is being changed by others; ask again")


def _wanted(instance: Instance, verb: str, ask: Callable[[Instance], Instance]) -> Instance:
    if instance.desired.state is DesiredState.DELETED and verb != "delete":
        raise NotAllowedNow(f"instance {instance.name!r} is being deleted")
    return ask(instance)


def repeated(ports: Ports, known: Known, until: datetime) -> Answer:
    """The stored answer; or, where the first attempt has none, what it wanted is made so and answered as it stands."""
    if known.answer:
        return known.answer
    found = load(Instance, ports.store.get([instance_ref(known.about)])[0])
    if found is None:
        raise NotFound(f"there is no instance {known.about}")
    return _joined(ports, found, until)


def _joined(ports: Ports, found: Loaded[Instance], until: datetime) -> Instance:
    if found.value.settled or not lease.is_free(found.value.lease, ports.now()):
        return watch(ports, found.value, until)
    toolbox = load(Toolbox, ports.store.get([toolbox_ref(found.value.toolbox_id)])[0])
    held = write(ports, claimed(ports, found.value), found, [])
    if held and toolbox:
        return converge(ports, Hold(ports, held), toolbox.value, Errand(until))
    return watch(ports, found.value, until)


def watch(ports: Ports, asked: Instance, until: datetime) -> Instance:
    """Another worker holds the lease and takes the intent up at its next save; see it do so."""
    current = asked
    while not current.settled and ports.now() < until:
        ports.pause(WAIT_SECONDS)
        loaded = load(Instance, ports.store.get([instance_ref(asked.id)])[0])
        current = loaded.value if loaded else current
    return current
