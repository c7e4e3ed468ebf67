"""One worker's hold on one document, an instance's or a toolbox's: the lease taken, renewed, saved under and let go.

Every commit is a compare-and-set. After a refused or unanswered one the document is read again before anything is
said: the commit may have been our own, another worker may have taken over, or the account may have changed its mind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from functions.domain import lease, status, toolbox_status
from functions.domain.condition import derive_status
from functions.domain.errors import Conflict, Contended, Unavailable
from functions.domain.instance import Instance
from functions.domain.toolbox import Toolbox
from functions.lifecycle.documents import Loaded, dump, load, ref_of
from functions.lifecycle.ports import Create, Ports, Replace, Write

ATTEMPTS = 8
PAUSE_SECONDS = 0.05

D = TypeVar("D", Instance, Toolbox)
# What is to be saved, and what goes with it into the same commit.
Draft = Callable[[], tuple[D, Sequence[Write]]]


class LeaseLost(Exception):
    """Another worker has taken over, or the document is gone: nothing more may be begun for it."""


class Superseded(Exception):
    """The account asked for something else meanwhile, or saw more. The lease is still held."""


class Hold(Generic[D]):
    """`stored` is the document as last committed or read, also after LeaseLost and Superseded."""

    def __init__(self, ports: Ports, stored: Loaded[D]) -> None:
        assert stored.value.lease is not None
        self._ports = ports
        self._version = stored.version
        self.stored: D = stored.value
        self.lease = stored.value.lease

    def renew(self, document: D, writes: Sequence[Write] = ()) -> D:
        """Save what is known so far, with `writes`, under a lease of full length. Raises LeaseLost, Superseded."""
        return self.renew_drafted(lambda: (document, writes))

    def renew_drafted(self, draft: Draft[D]) -> D:
        """Likewise, with what `draft` makes anew at each attempt: a claim in it may be refused as another's."""
        return self._commit(draft, lease.taken(self.lease.holder, self._ports.now()))

    def release(self, document: D, writes: Sequence[Write] = ()) -> D:
        """Save and let go, with `writes` in the same commit. Raises LeaseLost, Superseded."""
        return self._commit(lambda: (document, writes), None)

    def _commit(self, draft: Draft[D], keep: lease.Lease | None) -> D:
        # One for all attempts: whichever of them went through is known by it, also one that comes late.
        revision = self._ports.new_id()
        for attempt in range(ATTEMPTS):
            drafted: tuple[D, Sequence[Write]] = draft()
            new = stamped(self._ports, replace(drafted[0], lease=keep), revision)
            check_move(self.stored, new)
            writes = [Replace(ref_of(new), dump(new), self._version), *drafted[1]]
            try:
                saved = Loaded(new, self._ports.store.commit(writes))
            except (Conflict, Unavailable) as error:
                found = self._reread(new, error)
                if found is None:
                    backoff(self._ports, attempt)
                    continue
                saved = found
            self._version, self.stored = saved.version, saved.value
            self.lease = keep or self.lease
            return saved.value
        raise Contended(f"{self.stored.id} could not be saved")

    def _reread(self, new: D, error: Exception) -> Loaded[D] | None:
        """Our own commit as it is stored, or None where it did not happen and may be tried again."""
        current = load(type(new), self._ports.store.get([ref_of(new)])[0])
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


def stamped(ports: Ports, document: D, revision: str = "") -> D:
    """As it will be written: `revision` or one of its own, the time, and the status that follows from the rest."""
    revised = replace(document, revision=revision or ports.new_id(), updated_at=ports.now())
    return replace(revised, status=derive_status(revised)) if isinstance(revised, Instance) else revised


def check_move(before: D, after: D) -> None:
    """Raises IllegalMove."""
    if isinstance(before, Instance):
        status.check_move(before.status, after.status)
    else:
        toolbox_status.check_move(before.status, after.status)


def write(ports: Ports, document: D, base: Loaded[D] | None, writes: Sequence[Write]) -> Loaded[D] | None:
    """Commit `document` over `base` (None: it is new); None where somebody else was first. Raises Unavailable."""
    if base:
        check_move(base.value, document)
    ref, data = ref_of(document), dump(document)
    first: Write = Replace(ref, data, base.version) if base else Create(ref, data)
    try:
        return Loaded(document, ports.store.commit([first, *writes]))
    except (Conflict, Unavailable) as error:
        current = load(type(document), ports.store.get([ref])[0])
        if current and current.value.revision == document.revision:
            return current
        if isinstance(error, Unavailable):
            raise
        return None


def backoff(ports: Ports, attempt: int) -> None:
    ports.pause(PAUSE_SECONDS * 2**attempt * (0.5 + ports.draw()))
