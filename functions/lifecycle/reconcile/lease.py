"""One worker's hold on one document, an instance's or a toolbox's: the lease taken, renewed, saved under and let go.

Every commit is a compare-and-set. After a refused or unanswered one the document is read again before anything is
said: the commit may have been our own, another worker may have taken over, or the account may have changed its mind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from functions.domain import lease
from functions.domain.errors import Conflict, Contended, Unavailable
from functions.domain.instance import model
from functions.domain.instance.condition import derive_status
from functions.domain.instance.model import Instance
from functions.domain.toolbox import model as toolbox_model
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Create, Dependencies, Replace, Write
from functions.lifecycle.repository import Loaded, decode, encode, ref_of

ATTEMPTS = 8
PAUSE_SECONDS = 0.05

D = TypeVar("D", Instance, Toolbox)
# What is to be saved, and what goes with it into the same commit.
Draft = Callable[[], tuple[D, Sequence[Write]]]


class LeaseLost(Exception):
    """Another worker has taken over, or the document is gone: nothing more may be begun for it."""


class Superseded(Exception):
    """The account asked for something else meanwhile, or saw more. The lease is still held."""


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
        return self.renew_drafted(lambda: (document, writes))

    def renew_drafted(self, draft: Draft[D]) -> D:
        """Likewise, with what `draft` makes anew at each attempt: a claim in it may be refused as another's."""
        return self._commit(draft, lease.acquire(self.lease.holder, self._deps.now()))

    def release(self, document: D, writes: Sequence[Write] = ()) -> D:
        """Save and let go, with `writes` in the same commit. Raises LeaseLost, Superseded."""
        return self._commit(lambda: (document, writes), None)

    def _commit(self, draft: Draft[D], keep: lease.Lease | None) -> D:
        # One for all attempts: whichever of them went through is known by it, also one that comes late.
        revision = self._deps.new_id()
        for attempt in range(ATTEMPTS):
            drafted: tuple[D, Sequence[Write]] = draft()
            new = stamp(self._deps, replace(drafted[0], lease=keep), revision)
            check_move(self.stored, new)
            writes = [Replace(ref_of(new), encode(new), self._version), *drafted[1]]
            try:
                saved = Loaded(new, self._deps.store.commit(writes))
            except (Conflict, Unavailable) as error:
                found = self._reread(new, error)
                if found is None:
                    pause_before_retry(self._deps, attempt)
                    continue
                saved = found
            self._version, self.stored = saved.version, saved.value
            self.lease = keep or self.lease
            return saved.value
        raise Contended(f"{self.stored.id} could not be saved")

    def _reread(self, new: D, error: Exception) -> Loaded[D] | None:
        """Our own commit as it is stored, or None where it did not happen and may be tried again."""
        current = decode(type(new), self._deps.store.get([ref_of(new)])[0])
        if current is None:
            raise LeaseLost(f"{new.id} is gone") from error
        if current.value.revision == new.revision:
            return current
        if current.value.lease is None or current.value.lease.holder != self.lease.holder:
            self.stored = current.value
            raise LeaseLost(f"the lease on {new.id} is lost") from error
        changed = current.version != self._version
        self._version, self.stored = current.version, current.value
        if changed:
            raise Superseded(f"{new.id} is wanted otherwise now") from error
        return None


def stamp(deps: Dependencies, document: D, revision: str = "") -> D:
    """As it will be written: `revision` or one of its own, the time, and the status that follows from the rest."""
    revised = replace(document, revision=revision or deps.new_id(), updated_at=deps.now())
    return replace(revised, status=derive_status(revised)) if isinstance(revised, Instance) else revised


def check_move(before: D, after: D) -> None:
    """Raises IllegalMove."""
    if isinstance(before, Instance):
        model.check_move(before.status, after.status)
    else:
        toolbox_model.check_toolbox_move(before.status, after.status)


def save(deps: Dependencies, document: D, base: Loaded[D] | None, writes: Sequence[Write]) -> Loaded[D] | None:
    """Commit `document` over `base` (None: it is new); None where somebody else was first. Raises Unavailable."""
    if base:
        check_move(base.value, document)
    ref, data = ref_of(document), encode(document)
    first: Write = Replace(ref, data, base.version) if base else Create(ref, data)
    try:
        return Loaded(document, deps.store.commit([first, *writes]))
    except (Conflict, Unavailable) as error:
        current = decode(type(document), deps.store.get([ref])[0])
        if current and current.value.revision == document.revision:
            return current
        if isinstance(error, Unavailable):
            raise
        return None


def pause_before_retry(deps: Dependencies, attempt: int) -> None:
    deps.pause(PAUSE_SECONDS * 2**attempt * (0.5 + deps.draw()))
