"""The events of an instance's history, derived from the instance before and after a commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from functions.domain.event import CONVERGE, Event, digest
from functions.domain.instance.condition import describe_last_exit, exit_id
from functions.domain.instance.model import Instance


def requested(before: Instance | None, after: Instance, verb: str, actor: str, now: datetime) -> Event:
    """Return the event of a request: one for each generation. `before` is None for a new instance."""
    generation = after.desired.generation
    old_status = before.status if before else None
    return Event(f"{generation:08d}-0-requested", now, f"{verb}_requested", actor, generation, old_status, after.status)


def exec_requested(instance: Instance, request_id: str, actor: str, now: datetime) -> Event:
    """Return the event of a command that is sent into the container; the command itself may hold secrets."""
    generation = instance.desired.generation
    return Event(f"{generation:08d}-3-{request_id}", now, "exec_requested", actor, generation, None, None)


def final_events(before: Instance, after: Instance, now: datetime) -> list[Event]:
    """Return the events of a pass's last commit: `before` is as stored, `after` as it is about to be stored."""
    return [
        *_crashed(before, after, now),
        *_container_lost(before, after, now),
        *_tools_changed(before, after, now),
        *_status_changed(before, after, now),
    ]


def interim_events(before: Instance, after: Instance, now: datetime) -> list[Event]:
    """Return the events of a commit in the middle of a pass: the next commit is compared with this one.

    A status on the way to another generation is left to the last commit of the pass.
    """
    status_changed = _status_changed(before, after, now) if before.settled else ()
    return [*_crashed(before, after, now), *_ports_reallocated(before, after, now), *status_changed]


def _status_changed(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """Identified by the observation that it rests on: a container that ends twice in a generation has two events."""
    reason, old_reason = after.failure or after.observed.obstacle, before.failure or before.observed.obstacle
    code, old_code = reason.code if reason else "", old_reason.code if old_reason else ""
    settled_now = after.settled and not before.settled
    if (before.status, old_code) == (after.status, code) and not settled_now:
        return
    container, generation = after.observed.container, after.desired.generation
    observation = f"{container.id} {container.started_at} {container.finished_at}" if container else "none"
    kind = "deleted" if after.deleted_at else "status_changed"
    event_id = f"{generation:08d}-2-{digest(f'{kind} {before.status} {after.status} {observation} {code}')}"
    detail = f"{reason.code}: {reason.message}" if reason else None
    yield Event(event_id, now, kind, CONVERGE, generation, before.status, after.status, detail)


def _crashed(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """The container ended without a request: the engine has restarted it, or it is still dead."""
    old, new, generation = before.observed.container, after.observed.container, after.desired.generation
    if new is None:
        return
    end = exit_id(new)
    restarted = old is not None and old.id == new.id and new.restart_count > old.restart_count
    died = end and end != after.observed.requested_exit and (old is None or exit_id(old) != end)
    if restarted or died:
        event_id = f"{generation:08d}-1-{digest(f'{new.id} {new.restart_count} {end}')}"
        detail = f"{describe_last_exit(new)}; restarts: {new.restart_count}"
        yield Event(event_id, now, "crashed", CONVERGE, generation, before.status, after.status, detail)


def _container_lost(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """The container disappeared without a request: somebody removed it, or the engine that held it was replaced."""
    old, new, generation = before.observed.container, after.observed.container, after.desired.generation
    if old is None or not before.settled or after.deleted_at or (new is not None and new.id == old.id):
        return
    replacement = f"; {new.id[:12]} replaces it" if new else ""
    event_id = f"{generation:08d}-1-{digest(f'lost {old.id}')}"
    detail = f"container {old.id[:12]} is gone{replacement}"
    yield Event(event_id, now, "container_lost", CONVERGE, generation, before.status, after.status, detail)


def _tools_changed(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    old, new, generation = before.observed.mcp, after.observed.mcp, after.desired.generation
    if old and new and old.tools_hash != new.tools_hash:
        detail = f"{old.tools_count} tools before, {new.tools_count} now"
        event_id = f"{generation:08d}-1-{digest(new.tools_hash + new.endpoint_id)}"
        yield Event(event_id, now, "tools_changed", CONVERGE, generation, None, None, detail)


def _ports_reallocated(before: Instance, after: Instance, now: datetime) -> Iterator[Event]:
    """The control plane chose other host ports; the account requested nothing."""
    generation, reallocations = after.desired.generation, after.desired.reallocations
    if reallocations == before.desired.reallocations:
        return
    pairs = [pair for pair in zip(before.spec.ports, after.spec.ports, strict=True) if pair[0] != pair[1]]
    detail = ", ".join(f"{old.host_port}/{old.protocol} is in use: {new.host_port} instead" for old, new in pairs)
    event_id = f"{generation:08d}-1-{digest(f'reallocated {reallocations}')}"
    yield Event(event_id, now, "port_reallocated", CONVERGE, generation, None, None, detail)
