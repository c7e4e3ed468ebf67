"""The outbox of outbound webhooks: an event that is to be sent is marked in the commit that records it.

`deliver_at` is set on such an event until it is delivered, and is moved into the future before each attempt: a worker
that dies at any moment leaves the event to a later attempt. A receiver that is down costs three attempts a minute,
however many events wait, and never delays the reconciler.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from functions.domain.errors import Conflict, NotDelivered
from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import (
    Dependencies,
    Document,
    Put,
    Query,
    Ref,
    Replace,
    Snapshot,
    Store,
    Version,
    Write,
)
from functions.lifecycle.repository import INSTANCES, TOOLBOXES, decode

log = logging.getLogger(__name__)

BACKOFF_FIRST, BACKOFF_LAST = timedelta(minutes=1), timedelta(hours=6)
GIVE_UP_AFTER = timedelta(days=3)
# Shorter than the minute between two sweeps, each of which publishes a task: usually one worker delivers at a time.
BUDGET = timedelta(seconds=45)
PAGE = 100
# After this many failures in a row the receiver counts as down, and the events wait for the next sweep.
FAILURES = 3

STATUSES = {INSTANCES: frozenset(InstanceStatus), TOOLBOXES: frozenset(ToolboxStatus)}
KIND_NAMES = {INSTANCES: "instance", TOOLBOXES: "toolbox"}
KINDS: dict[str, type[Instance] | type[Toolbox]] = {INSTANCES: Instance, TOOLBOXES: Toolbox}


class Sender(Protocol):
    """Sends outbound webhooks."""

    def send(self, message_id: str, body: bytes) -> None:
        """Return once the receiver has accepted the message. Raises errors.NotDelivered."""


# Makes the body of a message from its type, the event, and the present state of the instance or toolbox.
Render = Callable[[str, Snapshot, Instance | Toolbox], bytes]


@dataclass(frozen=True)
class OutboxStore:
    """A store that marks each recorded event for delivery if it makes a webhook."""

    inner: Store

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        return self.inner.get(refs)

    def query(self, query: Query) -> list[Snapshot]:
        return self.inner.query(query)

    def total(self, query: Query, field: str) -> tuple[int, int]:
        return self.inner.total(query, field)

    def commit(self, writes: Sequence[Write]) -> Version:
        return self.inner.commit([_queued(write) for write in writes])


def message_type(ref: Ref, event: Document) -> str | None:
    """The type of the webhook that the event makes, None if it makes none."""
    owner, _, kind = ref.collection.partition("/")
    if not kind.endswith("/events") or owner not in KIND_NAMES:
        return None
    if event["type"] == "crashed":
        return f"{KIND_NAMES[owner]}.crashed"
    named = event["type"] in ("status_changed", "deleted") or event["type"].endswith("_requested")
    moved = event["after"] in STATUSES[owner] and event["after"] != event["before"]
    return f"{KIND_NAMES[owner]}.status_changed" if named and moved else None


def message_id(ref: Ref) -> str:
    """The message's id, the same in every attempt, so that the receiver can drop duplicates."""
    return f"msg_{hashlib.sha256(f'{ref.collection}/{ref.id}'.encode()).hexdigest()[:32]}"


def waiting(deps: Dependencies) -> bool:
    """Whether a webhook is due."""
    return bool(deps.store.query(_due(deps.now(), 1)))


def deliver(deps: Dependencies, sender: Sender, render: Render) -> None:
    """Send the events that are due, oldest first, until none is left, BUDGET has passed, or the receiver is down."""
    until, failures = deps.now() + BUDGET, 0
    while due := deps.store.query(_due(deps.now(), PAGE)):
        for event in due:
            if deps.now() >= until or failures == FAILURES:
                return
            claimed = _claimed(deps, event)
            if claimed is not None:
                failures = 0 if _sent(deps, sender, render, event, claimed) else failures + 1


def _due(now: datetime, limit: int) -> Query:
    return Query("events", (("deliver_at", "<=", now),), "deliver_at", limit=limit, group=True)


def _queued(write: Write) -> Write:
    if isinstance(write, Put) and message_type(write.ref, write.data):
        return Put(write.ref, {**write.data, "deliver_at": write.data["time"]})
    return write


def _claimed(deps: Dependencies, event: Snapshot) -> Version | None:
    """Move the next attempt into the future before this one. None if another worker did so, or after GIVE_UP_AFTER."""
    now, attempts = deps.now(), event.data.get("delivery_attempts", 0)
    gave_up = now - event.data["time"] > GIVE_UP_AFTER
    delay = min(BACKOFF_FIRST * 2 ** min(attempts, 10), BACKOFF_LAST) * (1 - deps.draw() / 2)
    document = {"deliver_at": None if gave_up else now + delay, "delivery_attempts": attempts + 1}
    try:
        version = deps.store.commit([Replace(event.ref, document, event.version)])
    except Conflict:
        return None
    if gave_up:
        log.error("a webhook was not delivered within three days", extra={"webhook": message_id(event.ref)})
    return None if gave_up else version


def _sent(deps: Dependencies, sender: Sender, render: Render, event: Snapshot, version: Version) -> bool:
    kind, owner = message_type(event.ref, event.data), event.ref.collection.split("/")
    found = decode(deps, KINDS[owner[0]], deps.store.get([Ref(owner[0], owner[1])])[0])
    try:
        if found and kind:
            sender.send(message_id(event.ref), render(kind, event, found.value))
    except NotDelivered as error:
        fields = {"webhook": message_id(event.ref), "attempt": event.data.get("delivery_attempts", 0) + 1}
        log.warning("a webhook was not delivered: %s", error, extra=fields)
        return False
    try:
        deps.store.commit([Replace(event.ref, {"deliver_at": None}, version)])
    except Conflict:
        log.info("another worker sent this webhook too", extra={"webhook": message_id(event.ref)})
    return True
