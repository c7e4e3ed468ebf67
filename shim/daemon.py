"""Requests at the engine's socket without docker-py.

docker-py takes six times the CPU for the reads that every command needs, and its client buffers the beginning of a
stream and cannot read on after a silence.
"""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from typing import BinaryIO, cast

ANSWER_SECONDS = 30
KEPT_CONNECTIONS = 16
MAX_LINE = 65_536


class Refusal(Exception):
    """What the engine answered instead: its HTTP status and its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class Daemon:
    """Safe to share between threads."""

    def __init__(self, path: str) -> None:
        self._path = path
        # Each with a reader over it.
        self._kept: list[tuple[socket.socket, BinaryIO]] = []

    def read(self, target: str) -> bytes:
        """The body that a GET is answered with. Raises Refusal, OSError."""
        try:
            kept = self._kept.pop()
        except IndexError:
            return self._asked(target, *self._connected())
        try:
            return self._asked(target, *kept)
        except ConnectionError:
            # It had ended while it was idle, as with its engine. Who only looks may ask twice.
            return self._asked(target, *self._connected())

    def opened(self, method: str, target: str, body: bytes = b"") -> socket.socket:
        """The stream behind a good answer's head, without a timeout, to be closed. Raises Refusal, OSError."""
        stream, reader = self._connected(buffering=0)
        with ExitStack() as failed, reader:
            failed.callback(stream.close)
            # By HTTP/1.0 an answer has no framing: it ends where its connection does.
            stream.sendall(_request(method, target, "1.0", body))
            status, _ = _head(reader)
            if status != 200:
                raise Refusal(status, reader.read(MAX_LINE).decode("utf-8", "replace"))
            failed.pop_all()
        stream.settimeout(None)
        return stream

    def _connected(self, buffering: int = 65_536) -> tuple[socket.socket, BinaryIO]:
        stream = socket.socket(socket.AF_UNIX)
        with ExitStack() as failed:
            failed.callback(stream.close)
            stream.settimeout(ANSWER_SECONDS)
            stream.connect(self._path)
            failed.pop_all()
        # Which class it is of depends on the buffering.
        return stream, cast(BinaryIO, stream.makefile("rb", buffering))

    def _asked(self, target: str, stream: socket.socket, reader: BinaryIO) -> bytes:
        with ExitStack() as unkept:
            unkept.callback(stream.close)
            unkept.callback(reader.close)
            stream.sendall(_request("GET", target, "1.1", b""))
            status, fields = _head(reader)
            body = _body(reader, fields)
            if len(self._kept) < KEPT_CONNECTIONS:
                unkept.pop_all()
                self._kept.append((stream, reader))
        if status != 200:
            raise Refusal(status, json.loads(body)["message"])
        return body


def received(stream: socket.socket) -> bytes | None:
    """None at the end, b"" after a silence."""
    try:
        return stream.recv(65_536) or None
    except TimeoutError:
        return b""


def _request(method: str, target: str, version: str, body: bytes) -> bytes:
    head = f"{method} {target} HTTP/{version}\r\nHost: engine\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _head(reader: BinaryIO) -> tuple[int, dict[bytes, bytes]]:
    """Status and header fields, these in lower case."""
    status = reader.readline(MAX_LINE)
    if not status.startswith(b"HTTP/1."):
        raise ConnectionResetError("no answer came")
    fields = {}
    while line := reader.readline(MAX_LINE).strip().lower():
        name, _, value = line.partition(b":")
        fields[name] = value.strip()
    return int(status[9:12]), fields


def _body(reader: BinaryIO, fields: dict[bytes, bytes]) -> bytes:
    try:
        if fields.get(b"transfer-encoding") != b"chunked":
            return _exactly(reader, int(fields[b"content-length"]))
        chunks = []
        while size := int(reader.readline(MAX_LINE), 16):
            chunks.append(_exactly(reader, size))
            reader.readline(MAX_LINE)
        reader.readline(MAX_LINE)
        return b"".join(chunks)
    except (KeyError, ValueError) as error:
        raise ConnectionResetError("the answer has no end") from error


def _exactly(reader: BinaryIO, size: int) -> bytes:
    body = reader.read(size)
    if len(body) < size:
        raise ConnectionResetError("the answer broke off")
    return body
