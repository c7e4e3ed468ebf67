"""One command at a time for one instance.

A fixed number of locks, chosen by a hash of the instance's id: the shim keeps no collection of containers. Two
instances that share a lock wait for each other, which costs time and nothing else.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shim.contract import errors
from shim.contract.tokens import Claims

STRIPES = 256


class Turns:
    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._locks = tuple(threading.Lock() for _ in range(STRIPES))
        self._clock = clock

    @contextmanager
    def of(self, instance_id: str, claims: Claims) -> Iterator[Callable[[], None]]:
        """Hold the instance's lock. Gives the fence, to be called just before the engine acts.

        Raises TokenStale where the command had to start by a time that passed while it waited, as does the fence.
        """
        lock = self._lock(instance_id)
        if not lock.acquire(timeout=max(0.0, claims.expires - self._clock())):
            raise errors.TokenStale("the command expired while it waited behind another one for this instance")
        try:
            yield lambda: claims.must_not_be_expired(self._clock())
        finally:
            lock.release()

    def taken(self, instance_id: str) -> bool:
        """Whether a command for this instance is under way, or for one that shares its lock."""
        return self._lock(instance_id).locked()

    def _lock(self, instance_id: str) -> threading.Lock:
        return self._locks[zlib.crc32(instance_id.encode()) % STRIPES]
