"""A droplet's answers are its owner's: parsed as the contract's messages, bounded, and believed only about itself."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any

from functions.adapters.pinned import Answer, BrokenOff
from functions.domain.errors import ShimIncompatible, ToolboxRefused
from shim.contract import errors as shim_errors
from shim.contract import messages

MAX_ANSWER_BYTES = 8 << 20
# Of a stream. A log's line has at most 64 KiB, which JSON may make six times as long.
MAX_LINE_BYTES = 1 << 20
MAX_RELAYED_BYTES = 1_000_000
# Of a version or an id.
MAX_IDENTIFIER_CHARACTERS = 256
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class AnswerLines:
    """Implements lifecycle.dependencies.Lines for messages of one kind. An error in a line is raised as itself.

    `line_seconds`: within which each line must be complete. `ends`: the deadline for all, as of time.monotonic().
    """

    def __init__(self, kind: type[Any], answer: Answer, line_seconds: float, ends: float = float("inf")) -> None:
        self._kind, self._answer, self._line_seconds, self._ends = kind, answer, line_seconds, ends
        self._lines = _lines(answer)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._answer.end_at(min(time.monotonic() + self._line_seconds, self._ends))
        line = read(self._kind, next(self._lines))
        if line.error:
            raise error_of(HTTPStatus.OK, json.dumps({"error": line.error}).encode())
        return line

    def close(self) -> None:
        self._answer.close()


def content(answer: Answer) -> bytes:
    """The whole body. Raises ToolboxRefused, OutcomeUnknown."""
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in answer.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise ToolboxRefused(f"The toolbox's answer is larger than {MAX_ANSWER_BYTES} bytes.")
    except BrokenOff as error:
        raise shim_errors.OutcomeUnknown(f"The toolbox's answer is incomplete: {error}.") from error
    return b"".join(parts)


def read(kind: type[Any], body: bytes) -> Any:
    """Raises ToolboxRefused."""
    try:
        return messages.read(kind, body)
    except messages.Malformed as error:
        raise ToolboxRefused(f"The toolbox's answer does not follow the contract: {error}.") from None


def time_of(text: str) -> str:
    """Return `text` where it is empty or an RFC 3339 time with a zone. Raises ToolboxRefused.

    A time is computed with later, and is the id of a server-sent event, which a line end in it would forge.
    """
    try:
        is_time = not text or (text.isascii() and datetime.fromisoformat(text).tzinfo is not None)
    except ValueError:
        is_time = False
    if not is_time:
        raise ToolboxRefused(f"The toolbox answered {text[:40]!r}, which is not an RFC 3339 time.")
    return text


def identifier(text: str) -> str:
    """Return a version or an id: it is stored and shown. Raises ToolboxRefused."""
    if len(text) > MAX_IDENTIFIER_CHARACTERS or not text.isprintable():
        raise ToolboxRefused(
            f"The toolbox answered a version or id that is not at most {MAX_IDENTIFIER_CHARACTERS} printable "
            f"characters: {text[:40]!r}."
        )
    return text


def relayed(answer: Answer) -> messages.Response:
    """A container's answer, as far as it comes in time and within MAX_RELAYED_BYTES.

    Of an event stream everything up to the first JSON-RPC response: an MCP server may keep the stream open after it.
    """
    headers = {name: messages.text(value.encode("latin-1", "replace")) for name, value in answer.headers().items()}
    stream = headers.get("content-type", "").startswith("text/event-stream")
    body, event, searched = bytearray(), 0, 0
    truncated = False
    try:
        for chunk in answer.chunks():
            body += chunk
            while stream and (end := _EVENT_END.search(body, searched)):
                if _is_response(bytes(body[event : end.start()])):
                    return messages.Response(answer.status, headers, messages.text(bytes(body[: end.end()])), False)
                event = searched = end.end()
            # Never from the event's start again: a server that sends byte by byte would cost a search of the whole
            # event for each of them.
            searched = max(event, len(body) - 3)
            if len(body) > MAX_RELAYED_BYTES:
                truncated = True
                break
    except BrokenOff:
        truncated = True
    return messages.Response(answer.status, headers, messages.text(bytes(body[:MAX_RELAYED_BYTES])), truncated)


def error_of(status: int, body: bytes) -> Exception:
    """The shim's error as its own class; anything that the contract does not know is ToolboxRefused and quotes it."""
    try:
        error = json.loads(body)["error"]
        code, message = str(error["code"]), str(error["message"])[:2000]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ToolboxRefused(f"The toolbox answered HTTP {status} without an error of the contract.")
    if code == shim_errors.Incompatible.code:
        return ShimIncompatible(message)
    kind = shim_errors.ERRORS.get(code)
    return kind(message) if kind else ToolboxRefused(f"The toolbox answered {code[:60]}: {message}")


def _lines(answer: Answer) -> Iterator[bytes]:
    pending = b""
    try:
        for chunk in answer.chunks():
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) > MAX_LINE_BYTES:
                raise ToolboxRefused(f"A line of the toolbox's answer is larger than {MAX_LINE_BYTES} bytes.")
            yield from lines
    except BrokenOff as error:
        raise shim_errors.OutcomeUnknown(f"The toolbox's answer is incomplete: {error}.") from error


def _is_response(event: bytes) -> bool:
    """Whether an event holds a JSON-RPC response."""
    lines = [line.partition(b":") for line in event.splitlines()]
    data = b"\n".join(value.removeprefix(b" ") for field, _, value in lines if field == b"data")
    try:
        message: Any = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and ("result" in message or "error" in message)
