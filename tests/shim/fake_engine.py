"""A fake Docker Engine on a real unix socket, with answers that a test sets, for the shim's real client."""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Answer = tuple[int, Any]
Reply = Answer | Callable[["Handler"], None]

VERSION = {"ApiVersion": "1.41", "Os": "linux", "Arch": "amd64", "Version": "20.10.24"}
IMAGE = {"Id": "sha256:" + "1" * 64, "Os": "linux", "Architecture": "amd64", "Size": 1, "RepoDigests": []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEngine

    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = re.sub(r"^/v1\.\d+", "", self.path)
        self.server.calls.append(f"{self.command} {path.partition('?')[0]}")
        self.server.bodies.append(self.body)
        reply = self.server.reply_to(f"{self.command} {path}")
        if callable(reply):
            reply(self)
        else:
            self.say(*reply)

    def say(self, status: int, output: Any) -> None:
        body = output if isinstance(output, bytes) else json.dumps(output).encode() if output is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def address_string(self) -> str:
        return "unix"


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.calls: list[str] = []
        self.bodies: list[bytes] = []
        # Patterns over "METHOD /path?query"; the newest pattern that matches wins.
        self.replies: list[tuple[str, Reply]] = []
        super().__init__(str(path), Handler)
        self.on(r"GET /version", (200, VERSION))
        self.on(r"GET /networks/none", (200, {"Id": "engine-1"}))
        self.on(r"GET /containers/json", (200, []))
        self.on(r"GET /events", (200, b""))
        self.on(r"GET /images/.*/json", (200, IMAGE))
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def on(self, pattern: str, reply: Reply) -> None:
        self.replies.insert(0, (pattern, reply))

    def reply_to(self, request: str) -> Reply:
        no_such = (404, {"message": f"No such container: {request}"})
        return next((reply for pattern, reply in self.replies if re.match(pattern, request)), no_such)

    def acts(self) -> list[str]:
        """The requests that change something: all but GET."""
        return [call for call in self.calls if not call.startswith("GET")]


def hang_up(handler: Handler) -> None:
    handler.connection.close()
    handler.close_connection = True
