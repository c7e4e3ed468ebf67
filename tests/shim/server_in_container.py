"""A server at an address of its own, as one in a container has it, that answers the bytes a test says."""

from __future__ import annotations

import re
import socketserver
import time
from collections.abc import Iterable

ADDRESS = "127.0.9.1"


class Server(socketserver.ThreadingTCPServer):
    """Answers each connection with the chunks, `pause` seconds between them, and then closes it."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, chunks: Iterable[bytes], pause: float = 0, stays_open: bool = False) -> None:
        self.chunks, self.pause, self.stays_open = list(chunks), pause, stays_open
        self.received = b""
        super().__init__((ADDRESS, 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        head = self.request.recv(65536)
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        # Head and body may come apart.
        body = self.request.recv(65536) if length and not head.partition(b"\r\n\r\n")[2] else b""
        self.server.received += head + body
        try:
            for chunk in self.server.chunks:
                self.request.sendall(chunk)
                time.sleep(self.server.pause)
            if self.server.stays_open:
                self.request.recv(1)
        except OSError:
            # Whoever asked has heard enough.
            return
