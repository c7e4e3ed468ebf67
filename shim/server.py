"""The HTTPS server: TLS 1.3, HTTP/1.1, WSGI; a bounded pool of threads, and one time limit for each request.

Written for this shim because neither cheroot nor granian passes its safety tests at its speed (README, "Decisions"):
a connection costs a thread only from its first byte on and gives it back when it is idle; the application decides
from the request's head how much of its body is read; and a slow client is cut off after a fixed time for the whole
request. HTTP is parsed by httptools, the parser of Node.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import select
import selectors
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from shim.contract import errors, routes

# For commands that are quick. What may last is counted by the application and has threads of its own beside these.
THREADS = 16
MAX_CONNECTIONS = 512
LISTEN_BACKLOG = 256
# A connection without a request is closed after this time, as is one whose client takes none of an answer.
IDLE_SECONDS = 20
# From the first byte of a request to its last one, on a new connection with the TLS handshake.
REQUEST_SECONDS = 10.0
# A thread waits this long for the next request of its connection before it gives the connection back.
LINGER_MILLISECONDS = 20
# Docker sends SIGKILL ten seconds after SIGTERM.
STOP_SECONDS = 8
MAX_HEAD_BYTES = 16_384
MAX_HEADERS = 100
# Of all requests at once, so that no number of callers can fill the droplet's memory.
BODY_BUDGET_BYTES = 32 << 20
_CHUNK = 65_536
_log = logging.getLogger("shim.server")

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Closed(Exception):
    """The client closed the connection, was too slow, or does not speak HTTP. There is nobody to answer."""


class BodyBudget:
    """Bytes of request bodies that may be in memory at once, over all connections."""

    def __init__(self, total: int) -> None:
        self._left, self._lock = total, threading.Lock()

    def take(self, count: int) -> None:
        """Raises Busy."""
        with self._lock:
            if count > self._left:
                raise errors.Busy("Too many bytes of request bodies are under way. Try again later.")
            self._left -= count

    def give_back(self, count: int) -> None:
        with self._lock:
            self._left += count


class Server:
    """`prepare()` listens, `serve()` accepts until `stop()` is called in another thread or SystemExit is raised."""

    def __init__(
        self, app: Wsgi, pem: Path, address: tuple[str, int], threads: int, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self.app, self.address, self.request_seconds = app, address, request_seconds
        self.budget = BodyBudget(BODY_BUDGET_BYTES)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.load_cert_chain(pem)
        # The functions keep their connections. A ticket nobody uses costs 0.1 ms of each handshake.
        self.tls.num_tickets = 0
        self._max_threads, self._threads, self._free = threads, 0, 0
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
        self._all: set[Connection] = set()
        self._returned: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        self.running, self._next_close = False, 0.0

    def prepare(self) -> None:
        """Raises OSError where the address is taken."""
        self._listener = socket.create_server(self.address, backlog=LISTEN_BACKLOG)
        self._listener.setblocking(False)
        os.set_blocking(self._wake_read, False)
        self.running, self._stopped = True, threading.Event()
        # What is loaded by now stays, and need not be searched for garbage again and again.
        gc.freeze()

    def serve(self) -> None:
        """One thread waits for the first byte of every idle connection; the pool serves those that have one."""
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._wake_read, selectors.EVENT_READ)
        try:
            while self.running:
                for key, _ in selector.select(1.0):
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif isinstance(key.data, Connection):
                        selector.unregister(key.fileobj)
                        self._hand_over(key.data)
                self._take_back(selector)
                self._close_idle(selector)
        finally:
            selector.close()
            self._stopped.set()

    def stop(self) -> None:
        """Answers what is under way, at most STOP_SECONDS, and closes every connection."""
        self.running = False
        self._wake()
        self._stopped.wait(5)
        self._listener.close()
        ends = time.monotonic() + STOP_SECONDS
        while time.monotonic() < ends and any(connection.busy for connection in list(self._all)):
            time.sleep(0.02)
        for connection in list(self._all):
            connection.cut()
        for _ in range(self._threads):
            self._ready.put(None)

    def park(self, connection: Connection) -> None:
        """Wait for the connection's next request without a thread."""
        connection.busy = False
        self._returned.put(connection)
        self._wake()

    def waiting(self) -> bool:
        """Whether a connection waits for a thread."""
        return not self._ready.empty()

    def forget(self, connection: Connection) -> None:
        self._all.discard(connection)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        with suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                if len(self._all) >= MAX_CONNECTIONS:
                    accepted.close()
                    continue
                connection = Connection(self, accepted)
                self._all.add(connection)
                selector.register(accepted, selectors.EVENT_READ, connection)

    def _hand_over(self, connection: Connection) -> None:
        connection.busy = True
        self._ready.put(connection)
        with self._lock:
            if self._free < self._ready.qsize() and self._threads < self._max_threads:
                # Threads are made as they are needed and kept: each that has served once holds 0.1 MiB.
                self._threads += 1
                threading.Thread(target=self._work, daemon=True).start()

    def _take_back(self, selector: selectors.BaseSelector) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, _CHUNK)
        while not self._returned.empty():
            connection = self._returned.get()
            try:
                selector.register(connection.sock, selectors.EVENT_READ, connection)
            except (ValueError, KeyError, OSError):
                connection.close()

    def _close_idle(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        if now < self._next_close:
            return
        self._next_close = now + 1
        for connection in list(self._all):
            if not connection.busy and connection.idle_since < now - IDLE_SECONDS:
                with suppress(KeyError, ValueError):
                    selector.unregister(connection.sock)
                connection.close()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._free += 1
            connection = self._ready.get()
            with self._lock:
                self._free -= 1
            if connection is None:
                return
            connection.serve()

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._wake_write, b"\0")


class Request:
    """The request that a connection reads, as httptools reports it. Also its WSGI input."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parser = httptools.HttpRequestParser(self)
        self.target, self.headers = b"", list[tuple[bytes, bytes]]()
        self.head_is_complete = self.is_complete = self.is_pipelined = False
        # Bytes of the body: all that were read, and those that count against the budget.
        self.received_bytes = self._held = self._head_bytes = 0
        self._body = bytearray()
        # Raised by the application once it knows who sends.
        self.allowed = routes.MAX_UNSIGNED_BODY_BYTES
        self._continue = False

    def read_head(self) -> None:
        """Raises Closed."""
        received = 0
        while not self.head_is_complete:
            chunk = self._connection.receive()
            if not chunk or received > MAX_HEAD_BYTES:
                raise Closed
            received += len(chunk)
            self._feed(chunk)

    def read(self, size: int = -1) -> bytes:
        """The body so far allowed: at most `allowed` bytes are ever read. Raises Busy, Closed."""
        while not self.is_complete and self.received_bytes < self.allowed and (size < 0 or len(self._body) < size):
            if self._continue:
                self._continue = False
                self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            chunk = self._connection.receive()
            if not chunk:
                raise Closed
            self._feed(chunk)
        count = len(self._body) if size < 0 else size
        data = bytes(self._body[:count])
        del self._body[:count]
        return data

    def close(self) -> None:
        """Give back what was taken of the budget."""
        self._connection.server.budget.give_back(self._held)
        self._held = 0

    def environ(self) -> dict[str, Any]:
        """Raises Closed for a target that is not a path."""
        target = self.target.decode("latin-1")
        path, _, query = target.partition("?")
        if not path.startswith("/"):
            raise Closed
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self._parser.get_method().decode("ascii"),
            "SCRIPT_NAME": "",
            "PATH_INFO": _unquoted(path),
            "QUERY_STRING": query,
            "REQUEST_URI": target,
            "SERVER_NAME": "shim",
            "SERVER_PORT": str(routes.PORT),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": self,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            # The body ends by itself, whether its length is known or not.
            "wsgi.input_terminated": True,
            ALLOW_BODY: self.allow_body,
            CLIENT: self._connection,
        }
        for name, value in self.headers:
            key = name.decode("latin-1").upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        return environ

    def allow_body(self, count: int) -> None:
        """Let so many bytes of the body be read."""
        self.allowed = count

    @property
    def keeps_alive(self) -> bool:
        """Whether another request may follow on this connection."""
        return bool(self._parser.should_keep_alive()) and self.is_complete and not self.is_pipelined

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.feed_data(chunk)
        except httptools.HttpParserUpgrade:
            raise Closed from None
        except httptools.HttpParserError as error:
            # What a callback raises arrives as the cause of the parser's own error.
            if isinstance(error.__context__, errors.Busy | Closed):
                raise error.__context__ from None
            raise Closed from None

    # Callbacks of httptools.

    def on_message_begin(self) -> None:
        self.is_pipelined = self.head_is_complete

    def on_url(self, part: bytes) -> None:
        if not self.is_pipelined:
            self.target += part
            self._count_head(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        # An underscore would be one header with a hyphen in WSGI: ours are never spelled so.
        if self.is_pipelined or b"_" in name:
            return
        self._count_head(len(name) + len(value))
        self.headers.append((name, value))
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._continue = True

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            raise Closed

    def on_headers_complete(self) -> None:
        self.head_is_complete = True

    def on_body(self, part: bytes) -> None:
        if not self.is_pipelined:
            self._connection.server.budget.take(len(part))
            self.received_bytes += len(part)
            self._held += len(part)
            self._body += part

    def on_message_complete(self) -> None:
        self.is_complete = True


# Keys of a request's environment: a function that lets so many bytes of the body be read, and an object whose
# `fileno()` becomes readable when the client closes the connection.
ALLOW_BODY = "toolboxes.allow-body"
CLIENT = "toolboxes.client"


class Connection:
    """One client's connection. `busy` while it has a thread or waits for one."""

    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self.server, self.sock, self.busy, self.idle_since = server, accepted, False, time.monotonic()
        self._is_secure = False
        self._deadline = 0.0
        self._poll = select.poll()
        self._poll.register(accepted, select.POLLIN)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A client whose machine is gone is noticed when it acknowledges nothing, or no probe, for this long.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, IDLE_SECONDS * 1000)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)

    def fileno(self) -> int:
        return self.sock.fileno()

    def serve(self) -> None:
        """Answer requests until the connection is idle or ends. The outermost edge of a pool's thread."""
        try:
            self._deadline = time.monotonic() + self.server.request_seconds
            if not self._is_secure:
                self._handshake()
            while self._serve_one():
                if not self._next_comes_soon():
                    self.idle_since = time.monotonic()
                    self.server.park(self)
                    return
                self._deadline = time.monotonic() + self.server.request_seconds
        except (Closed, OSError):
            pass
        except Exception:
            _log.exception("A connection failed unexpectedly.")
        self.close()

    def receive(self) -> bytes:
        """The next bytes, b"" at the end. Raises OSError, also at the end of the request's time."""
        self.sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        return self.sock.recv(_CHUNK)

    def send(self, data: bytes) -> None:
        """Raises OSError where the client does not take all of it within IDLE_SECONDS."""
        ends, rest = time.monotonic() + IDLE_SECONDS, memoryview(data)
        while rest:
            self.sock.settimeout(max(0.001, ends - time.monotonic()))
            rest = rest[self.sock.send(rest[:_CHUNK]) :]

    def cut(self) -> None:
        """End the connection at once. Any thread that reads or writes it gets an error."""
        # TLS would wait for the other side; socket.socket.shutdown does not.
        with suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self.server.forget(self)
        with suppress(OSError):
            self.sock.close()

    def _handshake(self) -> None:
        self.sock.settimeout(self.server.request_seconds)
        self.sock = self.server.tls.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock.do_handshake()
        self._is_secure = True

    def _serve_one(self) -> bool:
        """Whether another request may follow."""
        request = Request(self)
        try:
            request.read_head()
            environ = request.environ()
            answer = _Answer(self, environ["REQUEST_METHOD"])
            chunks = self.server.app(environ, answer.start)
            try:
                request.close()
                answer.send_all(chunks, closes=not request.keeps_alive or not self.server.running)
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
            if request.keeps_alive and answer.is_whole and self.server.running:
                return True
            if not request.is_complete:
                self._discard(request)
            return False
        finally:
            request.close()

    def _discard(self, request: Request) -> None:
        """Read what the client still sends, as far as it is allowed to.

        A client that is cut off while it sends does not see its answer.
        """
        with suppress(OSError, Closed, errors.Busy):
            while not request.is_complete and request.read():
                request.close()

    def _next_comes_soon(self) -> bool:
        """Whether the next request's first byte comes before the thread is worth more elsewhere."""
        assert isinstance(self.sock, ssl.SSLSocket)
        if self.sock.pending():
            return True
        if self.server.waiting():
            return False
        return bool(self._poll.poll(LINGER_MILLISECONDS))


class _Answer:
    """One answer: with its length known it is sent at once, else in chunks."""

    def __init__(self, connection: Connection, method: str) -> None:
        self._connection, self._method = connection, method
        self.is_whole = False

    def start(self, status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
        """WSGI's start_response."""
        self._status, self._headers = status, headers

    def send_all(self, chunks: Iterable[bytes], *, closes: bool) -> None:
        names = {name.lower() for name, _ in self._headers}
        bodiless = self._method == "HEAD" or self._status[:3] in ("204", "304")
        chunked = "content-length" not in names and not bodiless
        lines = [f"HTTP/1.1 {self._status}", *(f"{name}: {value}" for name, value in self._headers)]
        lines += ["Transfer-Encoding: chunked"] * chunked + ["Connection: close"] * closes
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if not chunked:
            self._connection.send(head + (b"" if bodiless else b"".join(chunks)))
        else:
            # At once: the first chunk of a stream may be long in coming.
            self._connection.send(head)
            for chunk in chunks:
                if chunk:
                    self._connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self._connection.send(b"0\r\n\r\n")
        self.is_whole = True


def _unquoted(path: str) -> str:
    """WSGI's PATH_INFO: percent-decoded bytes as latin-1."""
    return unquote_to_bytes(path).decode("latin-1") if "%" in path else path
