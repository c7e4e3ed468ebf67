"""A server with its own IP address, like a server in a container, that sends the bytes a test sets."""

from __future__ import annotations

import re
import socketserver
import threading
import time
from collections.abc import Iterable

ADDRESS = "127.0.9.1"


class Server(socketserver.ThreadingTCPServer):
    """Answers each connection with the chunks, `pause` seconds between them, and then closes it.

    With `stays_open` it waits until the client closes, and sets `closed`.
    """

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, chunks: Iterable[bytes], pause: float = 0, stays_open: bool = False) -> None:
        self.chunks, self.pause, self.stays_open = list(chunks), pause, stays_open
        self.received, self.closed = b"", threading.Event()
        super().__init__((ADDRESS, 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        head = self.request.recv(65536)
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        missing = int(length[1]) - len(head.partition(b"\r\n\r\n")[2]) if length else 0
        while missing > 0 and (part := self.request.recv(65536)):
            head, missing = head + part, missing - len(part)
        self.server.received += head
        try:
            for chunk in self.server.chunks:
                self.request.sendall(chunk)
                time.sleep(self.server.pause)
            if self.server.stays_open:
                self.request.recv(1)
                self.server.closed.set()
        except OSError:
            self.server.closed.set()
