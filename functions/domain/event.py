"""One line of an instance's or toolbox's history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from functions.domain.account.model import Account, AccountStatus
from functions.domain.instance.condition import describe_last_exit, exit_id
from functions.domain.instance.model import Instance
from functions.domain.toolbox.droplet import Droplet
from functions.domain.toolbox.model import Toolbox

CONVERGE = "converge"
BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class Event:
    """`id` derives from what is recorded, so that recording it again is the same event; ids sort as things happened."""

    id: str
    time: datetime
    type: str
    actor: str
    generation: int
    before: str | None
    after: str | None
    detail: str | None = None


def requested(before: Instance | None, after: Instance, verb: str, actor: str, now: datetime) -> Event:
    """Somebody asked for something, on the account's behalf: one event a generation."""
    generation = after.desired.generation
    origin = before.status if before else None
    return Event(f"{generation:08d}-0-requested", now, f"{verb}_requested", actor, generation, origin, after.status)


def executed(instance: Instance, mark: str, actor: str, now: datetime) -> Event:
    """A command was sent into the container. What it was is not said: it may hold what is secret."""
    generation = instance.desired.generation
    return Event(f"{generation:08d}-3-{mark}", now, "exec_requested", actor, generation, None, None)


def shim_restart_requested(toolbox: Toolbox, mark: str, actor: str, now: datetime) -> Event:
    return Event(f"shim_restart_requested-{mark}", now, "shim_restart_requested", actor, toolbox.generation, None, None)


def instance_events(before: Instance, after: Instance, now: datetime) -> list[Event]:
    """What a pass has found and done, told once: `before` is as stored, `after` as it is about to be."""
    return [
        *crashed(before, after, now),
        *_lost(before, after, now),
        *_tools_changed(before, after, now),
        *_moved(before, after, now),
    ]


def interim_events(before: Instance, after: Instance, now: datetime) -> list[Event]:
    """What goes with a save in the middle of a pass: nobody would know later that this was new.

    What is on its way to another generation is told at the end of the pass.
    """
    moved = _moved(before, after, now) if before.settled else ()
    return [*crashed(before, after, now), *_redrawn(before, after, now), *moved]


def _moved(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """Named after the sighting that it rests on: a container that dies twice in a generation has two events."""
    reason, reason_before = after.failure or after.observed.obstacle, before.failure or before.observed.obstacle
    code, code_before = reason.code if reason else "", reason_before.code if reason_before else ""
    reached = after.settled and not before.settled
    if (before.status, code_before) == (after.status, code) and not reached:
        return
    container, generation = after.observed.container, after.desired.generation
    sighting = f"{container.id} {container.started_at} {container.finished_at}" if container else "none"
    kind = "deleted" if after.deleted_at else "status_changed"
    mark = _mark(f"{kind} {before.status} {after.status} {sighting} {code}")
    detail = f"{reason.code}: {reason.message}" if reason else None
    yield Event(f"{generation:08d}-2-{mark}", now, kind, CONVERGE, generation, before.status, after.status, detail)


def crashed(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """A death that nobody asked for: the engine restarted the container, or it lies there dead."""
    old, new, generation = before.observed.container, after.observed.container, after.desired.generation
    if new is None:
        return
    restarted = old is not None and old.id == new.id and new.restart_count > old.restart_count
    died = (
        exit_id(new) and exit_id(new) != after.observed.requested_exit and (old is None or exit_id(old) != exit_id(new))
    )
    if restarted or died:
        mark = _mark(f"{new.id} {new.restart_count} {exit_id(new)}")
        detail = f"{describe_last_exit(new)}; restarts: {new.restart_count}"
        yield Event(
            f"{generation:08d}-1-{mark}", now, "crashed", CONVERGE, generation, before.status, after.status, detail
        )


def _lost(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """Its container went while nobody had asked for anything: by hand, or with the engine that held it."""
    old, new, generation = before.observed.container, after.observed.container, after.desired.generation
    if old is None or not before.settled or after.deleted_at or (new is not None and new.id == old.id):
        return
    taken = f"; {new.id[:12]} takes its place" if new else ""
    event_id = f"{generation:08d}-1-{_mark(f'lost {old.id}')}"
    detail = f"container {old.id[:12]} is gone{taken}"
    yield Event(event_id, now, "container_lost", CONVERGE, generation, before.status, after.status, detail)


def _tools_changed(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    old, new, generation = before.observed.mcp, after.observed.mcp, after.desired.generation
    if old and new and old.tools_hash != new.tools_hash:
        detail = f"{old.tools_count} tools before, {new.tools_count} now"
        mark = _mark(new.tools_hash + new.endpoint_id)
        yield Event(f"{generation:08d}-1-{mark}", now, "tools_changed", CONVERGE, generation, None, None, detail)


def _redrawn(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """The control plane drew host ports of its own anew; the account asked for nothing."""
    generation, drawn = after.desired.generation, after.desired.reallocations
    if drawn == before.desired.reallocations:
        return
    pairs = [pair for pair in zip(before.spec.ports, after.spec.ports, strict=True) if pair[0] != pair[1]]
    detail = ", ".join(f"{old.host_port}/{old.protocol} is taken: {new.host_port} instead" for old, new in pairs)
    event_id = f"{generation:08d}-1-{_mark(f'redrawn {drawn}')}"
    yield Event(event_id, now, "port_reallocated", CONVERGE, generation, None, None, detail)


def toolbox_requested(before: Toolbox | None, after: Toolbox, verb: str, actor: str, now: datetime) -> Event:
    """Likewise of a toolbox."""
    origin = before.status if before else None
    event_id = f"{after.generation:08d}-0-requested"
    return Event(event_id, now, f"{verb}_requested", actor, after.generation, origin, after.status)


def orphan_droplet_found(toolbox: Toolbox, instance_events: Droplet, now: datetime) -> Event:
    """A droplet that carries the toolbox's name or tag, and that it does not know."""
    detail = (
        f"droplet {instance_events.id} ({instance_events.name}) belongs to no toolbox; it is not destroyed by itself"
    )
    event_id, generation = f"orphan_droplet_found-{_mark(instance_events.id)}", toolbox.generation
    return Event(event_id, now, "orphan_droplet_found", CONVERGE, generation, None, None, detail)


def toolbox_events(before: Toolbox, after: Toolbox, now: datetime) -> list[Event]:
    """Contact lost or found, another engine, and containers that no document knows."""
    events = []

    def tell(kind: str, mark: str, origin: str | None, outcome: str | None, detail: str | None = None) -> None:
        event_id = f"{kind}-{_mark(mark)}"
        events.append(Event(event_id, now, kind, CONVERGE, after.generation, origin, outcome, detail))

    if before.status is not after.status:
        mark = f"{after.generation} {after.status} {before.last_heartbeat_at}"
        tell("status_changed", mark, before.status, after.status, after.error)
    if before.engine_id and before.engine_id != after.engine_id:
        detail = "another engine answers: its containers are deployed anew"
        tell("engine_changed", str(after.engine_id), before.engine_id, after.engine_id, detail)
    for kind, droplet in _droplets_moved(before, after):
        tell(kind, droplet, None, None, f"droplet {droplet}")
    if after.certificate and before.certificate != after.certificate:
        tell("enrolled", str(after.fingerprint), None, None, f"the shim of droplet {after.droplet_id} has enrolled")
    if before.upgrade and not after.upgrade:
        kind = "shim_upgrade_failed" if after.failure_reason else "shim_upgraded"
        tell(kind, str(after.generation), before.shim_image, after.shim_image, after.error)
    for name in sorted(set(after.orphans) - set(before.orphans)):
        tell("orphan_container_found", f"{name} {after.orphans[name]}", None, None, f"{name} belongs to no instance")
    return events


def account_status_applied(toolbox: Toolbox, account: Account, actor: str, now: datetime) -> Event:
    """The toolbox was told how its account stands: one event a fact."""
    event_id, generation = f"account-{_mark(f'{account.status} {account.since}')}", toolbox.generation
    kind = "account_resumed" if account.status is AccountStatus.ACTIVE else f"account_{account.status}"
    return Event(event_id, now, kind, actor, generation, None, None)


def _droplets_moved(before: Toolbox, after: Toolbox) -> Iterator[tuple[str, str]]:
    """What the API was seen to have made, and what it no longer knows."""
    old, new = ({box.droplet_id, *(r.droplet_id for r in box.retired)} - {None} for box in (before, after))
    yield from (("droplet_created", str(one)) for one in sorted(map(str, new - old)))
    yield from (("droplet_destroyed", str(one)) for one in sorted(map(str, old - new)))


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
