"""Events are the outbox of webhooks: one that is to be told outside says so from the commit that records it on.

`deliver_at` stands on such an event until it was delivered, and is moved on before each try: a worker that dies at
whatever moment leaves it there, to be tried again. A receiver that fails costs three tries each minute, however much
waits, and never what converges.
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
GIVEN_UP_AFTER = timedelta(days=3)
# One worker at a time is busy with it: until the next sweep sends another.
BUDGET = timedelta(seconds=45)
PAGE = 100
# So many in a row say that it is the receiver, and not what it is told.
FAILURES = 3

STATUSES = {INSTANCES: frozenset(InstanceStatus), TOOLBOXES: frozenset(ToolboxStatus)}
KIND_NAMES = {INSTANCES: "instance", TOOLBOXES: "toolbox"}
KINDS: dict[str, type[Instance] | type[Toolbox]] = {INSTANCES: Instance, TOOLBOXES: Toolbox}


class Sender(Protocol):
    """Sends outbound webhooks."""

    def send(self, message_id: str, body: bytes) -> None:
        """Returns once the receiver has taken it. Raises errors.NotDelivered."""


# The body of a message: its type, the event, and what it happened to, as that is now.
Render = Callable[[str, Snapshot, Instance | Toolbox], bytes]


@dataclass(frozen=True)
class OutboxStore:
    """A store in which no event is recorded without being queued, where it is one to be told outside."""

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
    """The type of message that this event makes, None for one that is nobody's business outside."""
    owner, _, kind = ref.collection.partition("/")
    if not kind.endswith("/events") or owner not in KIND_NAMES:
        return None
    if event["type"] == "crashed":
        return f"{KIND_NAMES[owner]}.crashed"
    named = event["type"] in ("status_changed", "deleted") or event["type"].endswith("_requested")
    moved = event["after"] in STATUSES[owner] and event["after"] != event["before"]
    return f"{KIND_NAMES[owner]}.status_changed" if named and moved else None


def message_id(ref: Ref) -> str:
    """The same at each try, so that a receiver knows what it has had."""
    return f"msg_{hashlib.sha256(f'{ref.collection}/{ref.id}'.encode()).hexdigest()[:32]}"


def waiting(deps: Dependencies) -> bool:
    """Whether a webhook is due."""
    return bool(deps.store.query(_due(deps.now(), 1)))


def deliver(deps: Dependencies, sender: Sender, render: Render) -> None:
    """Send what is due, oldest first, until nothing is, the time is over, or the receiver seems to be down."""
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
    """To be tried again later, before it is tried now; None where it is another worker's, or has been given up."""
    now, tried = deps.now(), event.data.get("delivery_attempts", 0)
    given_up = now - event.data["time"] > GIVEN_UP_AFTER
    delay = min(BACKOFF_FIRST * 2 ** min(tried, 10), BACKOFF_LAST) * (1 - deps.draw() / 2)
    document = {"deliver_at": None if given_up else now + delay, "delivery_attempts": tried + 1}
    try:
        version = deps.store.commit([Replace(event.ref, document, event.version)])
    except Conflict:
        return None
    if given_up:
        log.error("a webhook was not taken for three days", extra={"webhook": message_id(event.ref)})
    return None if given_up else version


def _sent(deps: Dependencies, sender: Sender, render: Render, event: Snapshot, version: Version) -> bool:
    kind, owner = message_type(event.ref, event.data), event.ref.collection.split("/")
    found = decode(deps, KINDS[owner[0]], deps.store.get([Ref(owner[0], owner[1])])[0])
    try:
        if found and kind:
            sender.send(message_id(event.ref), render(kind, event, found.value))
    except NotDelivered as error:
        told = {"webhook": message_id(event.ref), "attempt": event.data.get("delivery_attempts", 0) + 1}
        log.warning("a webhook was not taken: %s", error, extra=told)
        return False
    try:
        deps.store.commit([Replace(event.ref, {"deliver_at": None}, version)])
    except Conflict:
        log.info("a webhook was sent that others have sent too", extra={"webhook": message_id(event.ref)})
    return True
