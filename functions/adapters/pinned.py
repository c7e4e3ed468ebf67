"""Connections over TLS 1.3 to a server with one certificate and no other, kept open for the next request.

By http.client and not requests: requests and urllib3 limit each read and not the whole answer, so that a server which
sends a byte every few seconds holds its caller for ever, and load the system's certificate authorities (22 ms of CPU)
for each new connection that needs none of them.
"""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

CONNECT_SECONDS = 5.0
MAX_IDLE_CONNECTIONS = 64
# Shorter than the shim keeps an idle connection, 20 s: a request must not meet its end.
MAX_IDLE_SECONDS = 15.0
CHUNK_BYTES = 65_536


class NotConnected(Exception):
    """No connection, or the peer did not present the pinned certificate: nothing was sent."""


class BrokenOff(Exception):
    """The peer closed the connection, or did not answer completely in time: the request may have been carried out."""


class TimedOut(BrokenOff):
    """The deadline passed."""


class _DeadlineSocket(ssl.SSLSocket):
    """Every read and write ends at one moment, `ends` as of time.monotonic()."""

    ends = float("inf")

    def recv_into(self, *arguments: Any) -> int:
        self._limit()
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        self._limit()
        return super().send(*arguments)

    def _limit(self) -> None:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline for the answer has passed")
        self.settimeout(min(left, 3_600.0))


class _Connection(HTTPConnection):
    """One pinned connection. `idle_since` while it is idle."""

    def __init__(self, address: str, port: int, fingerprint: str) -> None:
        super().__init__(address, port)
        self.key = address, port, fingerprint
        self.idle_since = 0.0
        # Else http.client would connect again by itself, unpinned, once the peer closed the connection.
        self.auto_open = 0

    def is_usable(self) -> bool:
        """Whether it is young enough and the peer has neither closed it nor sent anything unrequested."""
        if self.sock is None or time.monotonic() - self.idle_since > MAX_IDLE_SECONDS:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


class Answer:
    """The head of an answer; its body is read by `chunks()`. To be closed, also unread."""

    def __init__(
        self, pool: PinnedConnections, connection: _Connection, sock: _DeadlineSocket, response: HTTPResponse
    ) -> None:
        self._pool, self._connection, self._sock, self._response = pool, connection, sock, response
        self.status = response.status

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def headers(self) -> dict[str, str]:
        """Names in lower case; those that occur twice are joined by a comma."""
        found = self._response.headers
        return {name.lower(): ", ".join(found.get_all(name, [])) for name in found}

    def end_at(self, moment: float) -> None:
        """Another deadline, as of time.monotonic()."""
        self._sock.ends = moment

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes. Raises BrokenOff, TimedOut."""
        try:
            while chunk := self._response.read1(CHUNK_BYTES):
                yield chunk
        except TimeoutError as error:
            raise TimedOut("the answer was not complete in time") from error
        except (OSError, HTTPException, ValueError) as error:
            raise BrokenOff(_describe(error)) from error
        if self._response.length:
            raise BrokenOff("the answer is incomplete")

    def close(self) -> None:
        is_whole = self._response.isclosed() or self._response.length == 0
        self._response.close()
        if is_whole and self._connection.sock:
            self._pool.keep(self._connection)
        else:
            self._connection.close()


class PinnedConnections:
    """Safe to share between threads. One TLS context for the process."""

    def __init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.sslsocket_class = _DeadlineSocket
        # The longest idle first.
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()

    def request(
        self,
        address: str,
        port: int,
        fingerprint: str,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        ends: float,
    ) -> Answer:
        """Send one request and wait for the head of its answer.

        `fingerprint`: SHA-256 of the certificate in DER, lower-case hex. `ends`: the deadline for the whole of the
        answer, as of time.monotonic(). Raises NotConnected, BrokenOff, TimedOut.
        """
        while True:
            reused = self._take((address, port, fingerprint))
            connection = reused or self._connect(address, port, fingerprint, ends)
            # http.client drops its own reference where the body ends with the connection.
            sock = connection.sock
            assert isinstance(sock, _DeadlineSocket)
            sock.ends = ends
            try:
                connection.request(method, target, body or None, dict(headers))
                return Answer(self, connection, sock, connection.getresponse())
            except TimeoutError as error:
                connection.close()
                raise TimedOut("no answer in time") from error
            except (OSError, HTTPException) as error:
                connection.close()
                if reused and method == "GET" and isinstance(error, ConnectionError):
                    # It ended while it was idle. A read may be repeated, and the next attempt has its own connection.
                    continue
                raise BrokenOff(_describe(error)) from error

    def keep(self, connection: _Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
            oldest = self._idle.pop(0) if len(self._idle) > MAX_IDLE_CONNECTIONS else None
        if oldest:
            oldest.close()

    def _take(self, key: tuple[str, int, str]) -> _Connection | None:
        while True:
            with self._lock:
                found = next((idle for idle in reversed(self._idle) if idle.key == key), None)
                if found is None:
                    return None
                self._idle.remove(found)
            if found.is_usable():
                return found
            found.close()

    def _connect(self, address: str, port: int, fingerprint: str, ends: float) -> _Connection:
        """Raises NotConnected."""
        connection = _Connection(address, port, fingerprint)
        seconds = max(0.001, min(CONNECT_SECONDS, ends - time.monotonic()))
        try:
            plain = socket.create_connection((address, port), seconds)
        except OSError as error:
            raise NotConnected(_describe(error)) from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The handshake as a whole takes at most the socket's time-out.
            connection.sock = secured = self._context.wrap_socket(plain)
        except OSError as error:
            plain.close()
            raise NotConnected(f"TLS failed: {_describe(error)}") from error
        # Before anything is sent.
        presented = hashlib.sha256(secured.getpeercert(binary_form=True) or b"").hexdigest()
        if presented != fingerprint:
            secured.close()
            raise NotConnected(f"the certificate presented has the fingerprint {presented}, and not the pinned one")
        return connection


def _describe(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300]
