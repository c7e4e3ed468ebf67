"""What this process is working at, so that two of its threads do not do the same work at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class UnderWay:
    """A set of ids. Safe to share between threads; other processes have their own, and leases keep those apart."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, key: str) -> Iterator[bool]:
        """Work at `key` for the length of the block; False where another thread does already."""
        with self._lock:
            entered = key not in self._ids
            self._ids.add(key)
        try:
            yield entered
        finally:
            if entered:
                with self._lock:
                    self._ids.discard(key)
