"""The engine's socket, asked by hand over HTTP/1.0: an answer has no framing and ends where its connection does.

So for what is asked with every command, since docker-py takes six times the CPU for it; and for what streams, since a
client that buffers takes a stream's beginning for itself and cannot read on after a silence.
"""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import Any

ANSWER_SECONDS = 30
MAX_HEAD = 65_536


class Refusal(Exception):
    """What the engine answered instead: its HTTP status and its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


def read(path: str, target: str) -> Any:
    """The JSON that a GET is answered with. Raises Refusal, OSError, json.JSONDecodeError where it broke off."""
    with closing(_sent(path, "GET", target, b"")) as stream:
        answer = b"".join(iter(lambda: stream.recv(262_144), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    said = json.loads(body)
    if (status := _status(head)) != 200:
        raise Refusal(status, said["message"])
    return said


def opened(path: str, method: str, target: str, body: bytes = b"") -> socket.socket:
    """The stream behind a good answer's head, without a timeout, to be closed. Raises Refusal, OSError."""
    stream = _sent(path, method, target, body)
    try:
        with stream.makefile("rb", 0) as head:
            status = _status(head.readline(MAX_HEAD))
            while head.readline(MAX_HEAD).strip():
                pass
            if status != 200:
                raise Refusal(status, head.read(MAX_HEAD).decode("utf-8", "replace"))
    except BaseException:
        stream.close()
        raise
    stream.settimeout(None)
    return stream


def received(stream: socket.socket) -> bytes | None:
    """None at the end, b"" after a silence."""
    try:
        return stream.recv(65_536) or None
    except TimeoutError:
        return b""


def _sent(path: str, method: str, target: str, body: bytes) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(ANSWER_SECONDS)
        stream.connect(path)
        head = f"{method} {target} HTTP/1.0\r\nHost: engine\r\nContent-Type: application/json\r\n"
        stream.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    except BaseException:
        stream.close()
        raise
    return stream


def _status(head: bytes) -> int:
    """Of `HTTP/1.0 200 OK`."""
    if not head.startswith(b"HTTP/1."):
        raise ConnectionResetError("no answer came")
    return int(head[9:12])
