"""A simulated Firestore: the embedded store, whose calls fail and whose commits may be late or unacknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from functions.adapters.store_sqlite import SqliteStore
from functions.domain.errors import Conflict, Unavailable
from functions.lifecycle.dependencies import Version, Write
from tests.fakes.store import ForwardingStore
from tests.faults.simulation.scheduler import Scheduler, Worker
from tests.faults.simulation.store_oracle import StoreOracle

# The client's deadline for a commit is shorter than a lease; until then the commit may still be applied.
LATE_SECONDS = 5.0

T = TypeVar("T")


class SimulatedStore(ForwardingStore):
    def __init__(self, scheduler: Scheduler, inner: SqliteStore, oracle: StoreOracle) -> None:
        super().__init__(inner)
        self._scheduler, self._oracle = scheduler, oracle

    def around(self, method: str, call: Callable[[], T]) -> T:
        self._arrive("query" if method == "total" else method)
        return call()

    def commit(self, writes: Sequence[Write]) -> Version:
        scheduler = self._scheduler
        worker = scheduler.current
        self._arrive("commit")
        if scheduler.faults.occurs(scheduler.rng, "commit late"):
            scheduler.after(scheduler.rng.uniform(0, LATE_SECONDS), lambda: self._apply_late(writes, worker))
            raise Unavailable("the commit was not answered")
        version = self._apply(writes, worker)
        unacknowledged = scheduler.faults.occurs(scheduler.rng, "commit unacknowledged")
        scheduler.cede("committed" + (", unacknowledged" if unacknowledged else ""))
        if unacknowledged:
            raise Unavailable("the commit was not answered")
        return version

    def _arrive(self, what: str) -> None:
        scheduler = self._scheduler
        scheduler.cede(what)
        if scheduler.faults.occurs(scheduler.rng, "store unavailable"):
            scheduler.log("the store is unavailable")
            raise Unavailable("the store did not answer")

    def _apply_late(self, writes: Sequence[Write], worker: Worker) -> None:
        try:
            self._apply(writes, worker)
        except Conflict:
            self._scheduler.log(f"a late commit of {worker.name} is refused")

    def _apply(self, writes: Sequence[Write], worker: Worker) -> Version:
        try:
            version = self.inner.commit(writes)
        except Conflict:
            self._scheduler.log("the commit is refused")
            raise
        self._oracle.committed(writes, worker)
        return version
