"""One command in a running container: stdin fed, stdout and stderr apart, bounded in time and size."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from shim import deadline, logs
from shim.contract import messages

MAX_STREAM_BYTES = 500_000


def output(connected: socket.socket, stdin: str, seconds: float) -> tuple[str, str, bool, bool]:
    """Standard output and error, whether they were cut, and whether it ended in time.

    `connected` is an exec's stream as the engine hijacks it. Raises OSError.
    """
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    truncated, ends = False, time.monotonic() + seconds
    # Beside reading: one that writes before it reads would wait for us, and we for it.
    feeding = threading.Thread(target=_feed, args=(connected, stdin.encode()))
    with deadline.cut_at(ends, connected):
        feeding.start()
        for stream, message in logs.frames(_chunks(connected)):
            room = MAX_STREAM_BYTES - len(kept[stream])
            kept[stream] += message[:room]
            truncated = truncated or len(message) > room
    in_time = time.monotonic() < ends
    deadline.cut(connected)
    feeding.join()
    out, err = (messages.text(bytes(stream)) for stream in kept.values())
    return out, err, truncated, in_time


def _chunks(connected: socket.socket) -> Iterator[bytes]:
    while chunk := connected.recv(65_536):
        yield chunk


def _feed(connected: socket.socket, stdin: bytes) -> None:
    # A process need not read what it is given.
    with suppress(OSError):
        connected.sendall(stdin)
        connected.shutdown(socket.SHUT_WR)
