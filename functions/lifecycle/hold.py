"""One worker's hold on one instance's document: the lease taken, renewed, saved under and let go.

Every commit is a compare-and-set. After a refused or unanswered one the document is read again before anything is
said: the commit may have been our own, another worker may have taken over, or the account may have changed its mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from functions.domain import lease
from functions.domain.errors import Conflict, Contended, Unavailable
from functions.domain.instance import Instance, derive_status
from functions.domain.status import check_move
from functions.lifecycle.documents import Loaded, dump, instance_ref, load
from functions.lifecycle.ports import Create, Ports, Replace, Write

ATTEMPTS = 8
PAUSE_SECONDS = 0.05


class LeaseLost(Exception):
    """Another worker has taken over, or the document is gone: nothing more may be begun for it."""

    def __init__(self, current: Instance) -> None:
        super().__init__(f"the lease on instance {current.id} is lost")
        self.current = current


class Superseded(Exception):
    """The account asked for something else meanwhile. The lease is still held; `current` is what stands now."""

    def __init__(self, current: Instance) -> None:
        super().__init__(f"instance {current.id} is wanted otherwise now")
        self.current = current


class Hold:
    """`stored` is the document as last committed or read; it carries this worker's lease."""

    def __init__(self, ports: Ports, stored: Loaded[Instance]) -> None:
        assert stored.value.lease is not None
        self._ports = ports
        self._version = stored.version
        self.stored = stored.value
        self.lease = stored.value.lease

    def renew(self, instance: Instance, writes: Sequence[Write] = ()) -> Instance:
        """Save what is known so far, with `writes`, under a lease of full length. Raises LeaseLost, Superseded."""
        return self._commit(instance, lease.taken(self.lease.holder, self._ports.now()), writes)

    def release(self, instance: Instance, writes: Sequence[Write] = ()) -> Instance:
        """Save and let go, with `writes` in the same commit. Raises LeaseLost, Superseded."""
        return self._commit(instance, None, writes)

    def _commit(self, instance: Instance, keep: lease.Lease | None, writes: Sequence[Write]) -> Instance:
        new = stamped(self._ports, replace(instance, lease=keep))
        check_move(self.stored.status, new.status)
        for attempt in range(ATTEMPTS):
            try:
                version = self._ports.store.commit([Replace(instance_ref(new.id), dump(new), self._version), *writes])
            except (Conflict, Unavailable) as error:
                found = self._reread(new, error)
                if found is None:
                    backoff(self._ports, attempt)
                    continue
                version = found
            self._version, self.stored = version, new
            self.lease = keep or self.lease
            return new
        raise Contended(f"instance {new.id} could not be saved")

    def _reread(self, new: Instance, error: Exception) -> object | None:
        """The version of our own commit, or None where it did not happen and may be tried again."""
        current = load(Instance, self._ports.store.get([instance_ref(new.id)])[0])
        if current is None:
            raise LeaseLost(self.stored) from error
        if current.value.revision == new.revision:
            return current.version
        if current.value.lease is None or current.value.lease.holder != self.lease.holder:
            raise LeaseLost(current.value) from error
        changed = current.version != self._version
        self._version, self.stored = current.version, current.value
        if changed:
            raise Superseded(current.value) from error
        return None


def stamped(ports: Ports, instance: Instance) -> Instance:
    """As it will be written: a revision of its own, the time, and the status that follows from the rest."""
    return replace(instance, revision=ports.new_id(), updated_at=ports.now(), status=derive_status(instance))


def write(
    ports: Ports, instance: Instance, base: Loaded[Instance] | None, writes: Sequence[Write]
) -> Loaded[Instance] | None:
    """Commit `instance` over `base` (None: it is new); None where somebody else was first. Raises Unavailable."""
    if base:
        check_move(base.value.status, instance.status)
    ref, document = instance_ref(instance.id), dump(instance)
    first: Write = Replace(ref, document, base.version) if base else Create(ref, document)
    try:
        return Loaded(instance, ports.store.commit([first, *writes]))
    except (Conflict, Unavailable) as error:
        current = load(Instance, ports.store.get([ref])[0])
        if current and current.value.revision == instance.revision:
            return current
        if isinstance(error, Unavailable):
            raise
        return None


def backoff(ports: Ports, attempt: int) -> None:
    ports.pause(PAUSE_SECONDS * 2**attempt * (0.5 + ports.draw()))
