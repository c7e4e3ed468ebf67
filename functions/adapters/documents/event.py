"""The stored form of an event (`…/{id}/events/{id}`).

The outbox adds `deliver_at` and `delivery_attempts` to the document of an event that a webhook announces. They are the
outbox's own, so they are not part of an `Event` and are left alone here.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.domain.event import Event
from functions.lifecycle.dependencies import Document


class EventDocument(TypedDict):
    """Queries sort by `time`; the outbox's query, over the events of all owners, by `deliver_at`."""

    id: str
    time: datetime
    type: str
    actor: str
    generation: int
    before: str | None
    after: str | None
    detail: str | None


# Types of events that have other names since schema 2.
_RENAMED_TYPES = {
    "port_redrawn": "port_reallocated",
    "stray_droplet_found": "orphan_droplet_found",
    "stranger_found": "orphan_container_found",
}


def encode_event(event: Event) -> EventDocument:
    """Convert an event to its document."""
    return {
        "id": event.id,
        "time": event.time,
        "type": event.type,
        "actor": event.actor,
        "generation": event.generation,
        "before": event.before,
        "after": event.after,
        "detail": event.detail,
    }


def decode_event(stored: EventDocument) -> Event:
    """Convert a document to its event."""
    return Event(
        id=stored["id"],
        time=stored["time"],
        type=stored["type"],
        actor=stored["actor"],
        generation=stored["generation"],
        before=stored["before"],
        after=stored["after"],
        detail=stored["detail"],
    )


def upgrade_from_1(document: Document) -> Document:
    """Schema 2 renames some types of events."""
    return document | {"type": _RENAMED_TYPES.get(document["type"], document["type"])}
