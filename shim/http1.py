"""One HTTP/1.1 request and its answer over a connected socket, parsed by httptools.

Instead of http.client, whose buffering reader cannot continue after a timeout and cannot wait for two sockets at once.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

import httptools

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 200
_CHUNK = 65_536


class HasFileno(Protocol):
    """Anything that `select` can wait for."""

    def fileno(self) -> int: ...


class Abandoned(Exception):
    """The caller for whom an answer is read has gone."""


class Exchange:
    """One request after the other over one connection. Not safe to share between threads."""

    def __init__(self, connected: socket.socket) -> None:
        self.sock = connected
        self._begin("GET")

    def send(self, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> None:
        """Raises OSError."""
        self._begin(method)
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1")
        self.sock.sendall(head + body)

    def read(self, max_bytes: int) -> bytes:
        """The whole body, within the socket's own timeout for each read. Raises OSError."""
        parts: list[bytes] = []
        size = 0
        for chunk in self.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > max_bytes:
                raise ConnectionResetError(f"the answer is larger than {max_bytes} bytes")
        return b"".join(parts)

    def read_head(self, *, ends: float | None = None, caller: HasFileno | None = None) -> None:
        """Read until `status` and `headers` are known. Raises OSError, Abandoned; arguments as for `chunks`."""
        received = 0
        while not self._head_is_complete:
            self._wait(None, ends, caller)
            chunk = self.sock.recv(_CHUNK)
            received += len(chunk)
            if received > MAX_HEAD_BYTES + _CHUNK:
                raise ConnectionResetError(f"the head of the answer is larger than {MAX_HEAD_BYTES} bytes")
            self._feed(chunk)

    def chunks(
        self, *, silence: float | None = None, ends: float | None = None, caller: HasFileno | None = None
    ) -> Iterator[bytes]:
        """The body as it comes, and b"" after every `silence` seconds without any.

        Raises TimeoutError at `ends` (time.monotonic()), Abandoned where `caller` becomes readable, which a client that
        waits for its answer only does by closing its connection, and OSError where the answer is incomplete.
        """
        while True:
            if self._parts:
                chunk = b"".join(self._parts)
                self._parts.clear()
                yield chunk
            if self.is_complete:
                return
            if not self._wait(silence, ends, caller):
                yield b""
                continue
            received = self.sock.recv(_CHUNK)
            if not received and self._head_is_complete and not self._has_length:
                # Such a body ends with its connection, as that of an exec.
                return
            self._feed(received)

    def close(self) -> None:
        self.sock.close()

    @property
    def status(self) -> int:
        return int(self._parser.get_status_code())

    def _begin(self, method: str) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._method = method
        self._head_is_complete = self.is_complete = self._has_length = False
        self._parts: list[bytes] = []
        self.headers: list[tuple[str, str]] = []

    def _wait(self, silence: float | None, ends: float | None, caller: HasFileno | None) -> bool:
        """Whether the socket can be read; False after `silence`."""
        if silence is None and ends is None and caller is None:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if caller:
            poll.register(caller, select.POLLIN)
        left = None if ends is None else ends - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("the time for the answer is over")
        waits = [seconds for seconds in (silence, left) if seconds is not None]
        ready = [descriptor for descriptor, _ in poll.poll(min(waits) * 1000 if waits else None)]
        if caller and caller.fileno() in ready:
            raise Abandoned
        if not ready and (silence is None or (left is not None and left <= silence)):
            raise TimeoutError("the time for the answer is over")
        return bool(ready)

    def _feed(self, received: bytes) -> None:
        """Raises ConnectionResetError."""
        if not received:
            raise ConnectionResetError("the answer is incomplete")
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ConnectionResetError(f"the answer is not HTTP: {error}") from error

    # Callbacks of httptools.

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_HEADERS:
            raise ConnectionResetError(f"the answer has more than {MAX_HEADERS} headers")
        lowered = name.decode("latin-1").lower()
        self._has_length |= lowered in ("content-length", "transfer-encoding")
        self.headers.append((lowered, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        # 100 Continue and 103 Early Hints precede the answer.
        self._is_interim = 100 <= self.status < 200
        if self._is_interim:
            self.headers.clear()
            self._has_length = False
        else:
            self._head_is_complete = True
            self.is_complete = self._method == "HEAD"

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self.is_complete = not self._is_interim
