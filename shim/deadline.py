"""A time limit for the whole of what goes over a socket, however slowly the other side drips."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def cut(connected: socket.socket) -> None:
    """Whoever reads from it or writes to it in another thread comes to its end at once."""
    # It may have ended by itself in this very moment. TLS would wait for the other side: `socket.socket` does not.
    with suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


@contextmanager
def cut_at(moment: float, connected: socket.socket) -> Iterator[None]:
    """`moment` as of time.monotonic()."""
    timer = threading.Timer(max(0.0, moment - time.monotonic()), cut, [connected])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
