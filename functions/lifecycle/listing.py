"""Pages of lists that people read: bounded in number by the caller, and in bytes here.

A worker holds a whole page in its memory, and an instance's document may have half a mebibyte. So a page is read in
batches, and ends early where its records are large.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from functions.domain.event import Event
from functions.domain.storable import stored_bytes
from functions.lifecycle.dependencies import Dependencies, Query, Snapshot

MAX_PAGE_BYTES = 1_048_576
# The first batch, before anything is known of the documents' size. Most lists fit into it.
FIRST_BATCH = 10

T = TypeVar("T")
After = tuple[object, str] | None


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """One page. `more`: the list may go on after the last of `records`."""

    records: list[T]
    more: bool


def page(deps: Dependencies, search: Query, decoded: Callable[[Snapshot], T]) -> Listed[T]:
    """Read at most `search.limit` documents, or as many as MAX_PAGE_BYTES hold and one at least."""
    assert search.order_by is not None
    records: list[T] = []
    size, batch = 0, min(search.limit, FIRST_BATCH)
    while True:
        found = deps.store.query(replace(search, limit=batch))
        for snapshot in found:
            size += stored_bytes(snapshot.data)
            if records and size > MAX_PAGE_BYTES:
                return Listed(records, more=True)
            records.append(decoded(snapshot))
        left = search.limit - len(records)
        if len(found) < batch or left == 0:
            return Listed(records, more=left == 0)
        search = replace(search, after=(found[-1].data[search.order_by], found[-1].ref.id))
        batch = min(left, max(1, (MAX_PAGE_BYTES - size) * len(records) // size))


def event_history(deps: Dependencies, collection: str, limit: int, after: After) -> Listed[Event]:
    """The events of one instance or toolbox, newest first."""
    search = Query(collection, order_by="time", descending=True, limit=limit, after=after)
    return page(deps, search, lambda snapshot: deps.documents.decode(Event, snapshot.data))
