"""The HTTPS server: a bounded pool of threads, and a time limit on whoever sends a request slowly."""

from __future__ import annotations

import gc
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT, socket
from typing import Any

from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.workers.threadpool import ThreadPool
from cheroot.wsgi import Server

from shim import deadline
from shim.app import AT_ONCE, READ_WHOLE
from shim.contract import routes

# For what is quick; the routes that AT_ONCE counts have theirs beside these.
THREADS = 16
KEPT_CONNECTIONS = 100
QUEUED_CONNECTIONS = 256
# A client that takes nothing for so long gives its thread back.
IDLE_SECONDS = 20
# From a connection's turn to the last byte of its request, the TLS handshake included.
REQUEST_SECONDS = 10.0
# Docker itself kills ten seconds after it asked.
STOP_SECONDS = 8


Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class ShimServer(Server):
    """Not started yet: `safe_start()` serves until SystemExit, `stop()` ends it from another thread."""

    def __init__(
        self, app: Wsgi, pem: Path, address: tuple[str, int], request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self._request_seconds = request_seconds
        # What each thread reads at this moment, and until when.
        self._reading: dict[int, tuple[float, socket]] = {}
        super().__init__(
            address,
            self._handing_on(app),
            # A SYN too many is dropped, and comes again after a second.
            request_queue_size=QUEUED_CONNECTIONS,
            timeout=IDLE_SECONDS,
            shutdown_timeout=STOP_SECONDS,
            server_name="shim",
        )
        self.requests = _Threads(self, 1, THREADS + sum(AT_ONCE.values()), QUEUED_CONNECTIONS, accepted_queue_timeout=0)
        self.ConnectionClass = _Connection
        self.ssl_adapter = _Tls(str(pem), str(pem))
        self.ssl_adapter.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.keep_alive_conn_limit = KEPT_CONNECTIONS
        # The app says itself what is too large; beyond this not even the connection is kept for it.
        self.max_request_body_size = 2 * routes.MAX_BODY_BYTES
        self.max_request_header_size = 16_384

    def prepare(self) -> None:
        super().prepare()
        # Connections inherit it: one that is dead shows when nothing that was sent is acknowledged for so long.
        self.socket.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, IDLE_SECONDS * 1000)
        threading.Thread(target=self._end_the_slow, daemon=True).start()
        # What is loaded by now stays: not to be searched for garbage again and again.
        gc.freeze()

    def reads(self, connected: socket) -> None:
        """The calling thread begins to read a request."""
        self._reading[threading.get_ident()] = time.monotonic() + self._request_seconds, connected

    def has_read(self) -> None:
        self._reading.pop(threading.get_ident(), None)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        logging.getLogger("shim.server").log(level, msg, exc_info=traceback)

    def _handing_on(self, app: Wsgi) -> Wsgi:
        def handed_on(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            return app(environ | {READ_WHOLE: self.has_read}, start_response)

        return handed_on

    def _end_the_slow(self) -> None:
        while self.ready:
            for until, connected in list(self._reading.values()):
                if time.monotonic() > until:
                    deadline.cut(connected)
            time.sleep(1)


class _Connection(HTTPConnection):
    server: ShimServer

    def communicate(self) -> bool:
        self.server.reads(self.socket)
        try:
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            self.server.has_read()


class _Threads(ThreadPool):
    """Made as they are needed and kept: each that has served once holds on to 0.1 MiB."""

    def put(self, obj: HTTPConnection) -> None:
        # Not by grow(), which sleeps until the thread is ready.
        if self.idle <= self._queue.qsize() and len(self._threads) < self.max:  # type: ignore[attr-defined]
            self._threads.append(self._spawn_worker())  # type: ignore[attr-defined]
        super().put(obj)


class _Tls(BuiltinSSLAdapter):
    """Shakes hands in the thread that serves the client, not in the one that accepts all of them."""

    def wrap(self, sock: socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        return self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), {}
