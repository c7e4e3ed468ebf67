"""Tells on standard output what is being done and how long each step took; waits, always within bounds."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Seen = TypeVar("Seen")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Names what the block does, then the seconds it took. Steps do not nest."""
    print(f"{what} ... ", end="", flush=True)
    began, ended = time.monotonic(), "failed"
    try:
        yield
        ended = f"{time.monotonic() - began:.1f} s"
    finally:
        print(ended, flush=True)


def listens(host: str, port: int) -> bool:
    """Whether something takes TCP connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(look: Callable[[], Seen | None], seconds: float, what: str) -> Seen:
    """Looks until it sees something true and returns that; after `seconds` raises TimeoutError that names `what`."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
    return seen
