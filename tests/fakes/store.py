"""A store that forwards every call, for tests that watch, count, delay or fail the calls of another store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from functions.lifecycle.dependencies import Query, Ref, Snapshot, Store, Version, Write

T = TypeVar("T")


class ForwardingStore:
    """Forwards to `inner`.

    A subclass overrides `around` to do something at every call, or a single method where its arguments matter.
    """

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def around(self, method: str, call: Callable[[], T]) -> T:
        """Perform `call`, which is the inner store's `method`: get, query, total or commit."""
        return call()

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        return self.around("get", lambda: self.inner.get(refs))

    def query(self, query: Query) -> list[Snapshot]:
        return self.around("query", lambda: self.inner.query(query))

    def total(self, query: Query, field: str) -> tuple[int, int]:
        return self.around("total", lambda: self.inner.total(query, field))

    def commit(self, writes: Sequence[Write]) -> Version:
        return self.around("commit", lambda: self.inner.commit(writes))


class FaultyStore(ForwardingStore):
    """Calls a hook before and after each commit; a test sets them, and either may raise."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.before_commit: Callable[[Sequence[Write]], None] = lambda writes: None
        self.after_commit: Callable[[Sequence[Write]], None] = lambda writes: None

    def commit(self, writes: Sequence[Write]) -> Version:
        self.before_commit(writes)
        version = super().commit(writes)
        self.after_commit(writes)
        return version


class StaleStore(ForwardingStore):
    """Answers `get` with `stale` in place of that document's present content, as if it had been read long ago."""

    def __init__(self, inner: Store, stale: Snapshot) -> None:
        super().__init__(inner)
        self.stale = stale

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        found = super().get(refs)
        return [self.stale if ref == self.stale.ref else snapshot for ref, snapshot in zip(refs, found, strict=True)]


class CountingStore(ForwardingStore):
    """Counts reads as Firestore bills them, and records the documents written."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.reads = 0
        self.written: list[Ref] = []

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        self.reads += len(refs)
        return super().get(refs)

    def query(self, query: Query) -> list[Snapshot]:
        found = super().query(query)
        # A query without results is billed as one read.
        self.reads += max(1, len(found))
        return found

    def total(self, query: Query, field: str) -> tuple[int, int]:
        self.reads += 1
        return super().total(query, field)

    def commit(self, writes: Sequence[Write]) -> Version:
        self.written += [write.ref for write in writes]
        return super().commit(writes)
