"""Firestore by a seed: the embedded store, with commits that are refused an answer, come late, or never happen."""

from __future__ import annotations

from collections.abc import Sequence

from functions.adapters.store_sqlite import SqliteStore
from functions.domain.errors import Conflict, Unavailable
from functions.lifecycle.dependencies import Query, Ref, Snapshot, Version, Write
from tests.faults.simulation.scheduler import Scheduler, Worker
from tests.faults.simulation.witness import Witness

# A commit is given up after less than a lease; that long it may still be on its way.
LATE_SECONDS = 5.0


class SimulatedStore:
    def __init__(self, scheduler: Scheduler, inner: SqliteStore, witness: Witness) -> None:
        self._scheduler, self._inner, self._witness = scheduler, inner, witness

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        self._before("get")
        return self._inner.get(refs)

    def query(self, query: Query) -> list[Snapshot]:
        self._before("query")
        return self._inner.query(query)

    def total(self, query: Query, field: str) -> tuple[int, int]:
        self._before("query")
        return self._inner.total(query, field)

    def commit(self, writes: Sequence[Write]) -> Version:
        scheduler = self._scheduler
        worker = scheduler.current
        self._before("commit")
        if scheduler.weather.strikes(scheduler.rng, "commit late"):
            scheduler.after(scheduler.rng.uniform(0, LATE_SECONDS), lambda: self._arrives_late(writes, worker))
            raise Unavailable("the commit was not answered")
        version = self._apply(writes, worker)
        unacknowledged = scheduler.weather.strikes(scheduler.rng, "commit unacknowledged")
        scheduler.cede("committed" + (", unacknowledged" if unacknowledged else ""))
        if unacknowledged:
            raise Unavailable("the commit was not answered")
        return version

    def _before(self, what: str) -> None:
        scheduler = self._scheduler
        scheduler.cede(what)
        if scheduler.weather.strikes(scheduler.rng, "store unavailable"):
            scheduler.tell("the store is unavailable")
            raise Unavailable("the store did not answer")

    def _arrives_late(self, writes: Sequence[Write], worker: Worker) -> None:
        try:
            self._apply(writes, worker)
        except Conflict:
            self._scheduler.tell(f"a late commit of {worker.name} is refused")

    def _apply(self, writes: Sequence[Write], worker: Worker) -> Version:
        try:
            version = self._inner.commit(writes)
        except Conflict:
            self._scheduler.tell("the commit is refused")
            raise
        self._witness.committed(writes, worker)
        return version
