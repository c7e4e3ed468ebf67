"""One line of an instance's or toolbox's history."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from functions.domain.instance import Instance


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
    """The account asked for something: one event a generation."""
    generation = after.desired.generation
    origin = before.status if before else None
    return Event(f"{generation:08d}-0-requested", now, f"{verb}_requested", actor, generation, origin, after.status)


def status_changed(before: Instance, after: Instance, now: datetime) -> Event:
    """Named after the sighting that it rests on: a container that dies twice in a generation has two events."""
    container, generation = after.observed.container, after.desired.generation
    sighting = f"{container.id} {container.started_at} {container.finished_at}" if container else "none"
    reason = after.observed.failure or after.observed.trouble
    told = f"{after.status} {sighting} {reason.code if reason else ''}"
    mark = hashlib.sha256(told.encode()).hexdigest()[:12]
    detail = f"{reason.code}: {reason.message}" if reason else None
    kind = "deleted" if after.deleted_at else "status_changed"
    return Event(f"{generation:08d}-1-{mark}", now, kind, "converge", generation, before.status, after.status, detail)
