"""Progress on standard output, and waiting within a time limit."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Value = TypeVar("Value")


@contextmanager
def step(description: str) -> Iterator[None]:
    """Print the description, then the seconds that the block took, or "failed". Steps cannot be nested."""
    print(f"{description} ... ", end="", flush=True)
    started_at, outcome = time.monotonic(), "failed"
    try:
        yield
        outcome = f"{time.monotonic() - started_at:.1f} s"
    finally:
        print(outcome, flush=True)


def listens(host: str, port: int) -> bool:
    """Whether TCP connections are accepted at that address."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(probe: Callable[[], Value | None], seconds: float, description: str) -> Value:
    """Call `probe` until its result is true, and return that. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while not (value := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{description}: not within {seconds:.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
    return value
