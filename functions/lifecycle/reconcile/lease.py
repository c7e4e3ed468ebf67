"""One worker's lease on one document: taken, renewed, saved under and released.

A lease is a field of the document, not a lock of the store: it survives the worker that took it, runs out by itself,
and is visible to whoever reads the document. Every commit is a compare-and-set. After a refused or unanswered commit
the document is read again before anything is concluded: the commit may have been our own, another worker may have
taken over, or the account may have asked for something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic

from functions.domain import lease
from functions.domain.errors import Conflict, Contended, Unavailable
from functions.domain.instance.model import Instance, mark_for_inspection
from functions.lifecycle.dependencies import Dependencies, Write
from functions.lifecycle.repository import (
    ATTEMPTS,
    D,
    Loaded,
    check_status_move,
    commit,
    load,
    pause_before_retry,
    ref_of,
    stamp,
)

# Makes what is to be saved, and what goes into the same commit.
Draft = Callable[[], tuple[D, Sequence[Write]]]


class LeaseLost(Exception):
    """Another worker has taken over, or the document is gone: nothing more may be started for it."""


class Superseded(Exception):
    """The desired state has changed meanwhile. The lease is still ours."""


class LeaseHolder(Generic[D]):
    """`stored` is the document as last committed or read, also after LeaseLost and Superseded."""

    def __init__(self, deps: Dependencies, stored: Loaded[D]) -> None:
        assert stored.value.lease is not None
        self._deps = deps
        self._version = stored.version
        self.stored: D = stored.value
        self.lease = stored.value.lease

    def renew(self, document: D, writes: Sequence[Write] = ()) -> D:
        """Save what is known so far, with `writes`, under a lease of full length. Raises LeaseLost, Superseded."""
        return self.renew_with(lambda: (document, writes))

    def renew_with(self, draft: Draft[D]) -> D:
        """Save as `renew` does, with a draft made for each attempt, because a reservation in it may be refused."""
        return self._commit(draft, lease.acquire(self.lease.holder, self._deps.now()))

    def release(self, document: D, writes: Sequence[Write] = ()) -> D:
        """Save and release, with `writes` in the same commit. Raises LeaseLost, Superseded."""
        return self._commit(lambda: (document, writes), None)

    def _commit(self, draft: Draft[D], next_lease: lease.Lease | None) -> D:
        # One revision for all attempts, so that whichever of them went through is recognised, also one that comes late.
        revision = self._deps.new_id()
        for attempt in range(ATTEMPTS):
            drafted: tuple[D, Sequence[Write]] = draft()
            new = stamp(self._deps, replace(drafted[0], lease=next_lease), revision)
            check_status_move(self.stored, new)
            base = Loaded(self.stored, self._version)
            try:
                saved = commit(self._deps, new, base, drafted[1])
            except (Conflict, Unavailable) as error:
                found = self._reread(new, error)
                if found is None:
                    pause_before_retry(self._deps, attempt)
                    continue
                saved = found
            self._version, self.stored = saved.version, saved.value
            self.lease = next_lease or self.lease
            return saved.value
        raise Contended(f"{self.stored.id} could not be saved: {ATTEMPTS} commits were refused or not answered")

    def _reread(self, new: D, error: Exception) -> Loaded[D] | None:
        """Our own commit as it is stored, or None where it did not happen and may be tried again."""
        current = load(self._deps, type(new), ref_of(new))
        if current is None:
            raise LeaseLost(f"{new.id} does not exist any more") from error
        if current.value.revision == new.revision:
            return current
        if current.value.lease is None or current.value.lease.holder != self.lease.holder:
            self.stored = current.value
            raise LeaseLost(f"the lease on {new.id} is lost") from error
        changed = current.version != self._version
        self._version, self.stored = current.version, current.value
        if changed:
            raise Superseded(f"the desired state of {new.id} has changed") from error
        return None


def with_lease(deps: Dependencies, document: D) -> D:
    """`document` under a new lease of this worker, due again should the worker die."""
    mine = lease.acquire(deps.new_id(), deps.now())
    if isinstance(document, Instance) and document.lease:
        # A lease that was never released: its holder died, and what it did last is not recorded.
        document = mark_for_inspection(document)
    return stamp(deps, replace(document, lease=mine, due_at=mine.ends_at + lease.GRACE))
