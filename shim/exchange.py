"""One HTTP request to a container's own address: how the control plane proves that a server in it answers.

To that address and no other: no redirect is followed, no proxy asked, no name looked up. Bounded in time and size.
"""

from __future__ import annotations

import json
import re
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from shim import deadline
from shim.contract import errors, messages
from shim.contract.messages import Request, Response

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# What makes up the message itself (host, length, encoding, connection) is this module's affair.
HEADER = re.compile(
    r"accept|authorization|content-type|last-event-id|mcp-[a-z-]{1,64}|origin|user-agent|x-[a-z0-9-]{1,64}"
)
MAX_HEADERS = 32
MAX_HEADER_CHARACTERS = 8_192
MAX_BODY_BYTES = 1_000_000
TIMEOUTS = range(1, 31)
_VISIBLE = re.compile(r"[\t\x20-\x7e]*")
_TARGET = re.compile(r"/[\x21-\x7e]{0,4095}")
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


def check(asked: Request) -> None:
    """Raises Refused, naming the field."""
    held = {
        "port": asked.port in range(1, 65_536),
        "method": asked.method in METHODS,
        "path": _TARGET.fullmatch(asked.path),
        "timeout": asked.timeout in TIMEOUTS,
        "headers": len(asked.headers) <= MAX_HEADERS
        and all(HEADER.fullmatch(name.lower()) for name in asked.headers)
        and all(_VISIBLE.fullmatch(value) and len(value) <= MAX_HEADER_CHARACTERS for value in asked.headers.values()),
    }
    if refused := [field for field, holds in held.items() if not holds]:
        raise errors.Refused(f"{refused[0]} is not one that a request may have")


def send(address: str, asked: Request) -> Response:
    """`asked` as checked, to an IP address. Raises NotAnswering where no whole head of an answer came in time."""
    ends = time.monotonic() + asked.timeout
    connection = HTTPConnection(address, asked.port, timeout=asked.timeout)
    try:
        connection.connect()
        # A socket's own timeout is for each read.
        with deadline.cut_at(ends, connection.sock):
            return _exchanged(connection, asked)
    except (OSError, HTTPException) as error:
        words = str(error) or type(error).__name__
        raise errors.NotAnswering(f"nothing answers at port {asked.port}: {words}") from error
    finally:
        connection.close()


def _exchanged(connection: HTTPConnection, asked: Request) -> Response:
    connection.request(asked.method, asked.path, asked.body.encode() or None, {**asked.headers, "Connection": "close"})
    answer = connection.getresponse()
    body, truncated = _body(answer)
    headers = {name.lower(): ", ".join(answer.headers.get_all(name, [])) for name in answer.headers}
    read = {name: messages.text(value.encode("latin-1"))[:MAX_HEADER_CHARACTERS] for name, value in headers.items()}
    return Response(answer.status, read, messages.text(body), truncated)


def _body(answer: HTTPResponse) -> tuple[bytes, bool]:
    """The body, and whether its end is missing. Of a stream of events all up to the first JSON-RPC response."""
    stream = answer.headers.get_content_type() == "text/event-stream"
    taken, event, searched = bytearray(), 0, 0
    try:
        while chunk := answer.read1(65_536):
            taken += chunk
            while stream and (end := _EVENT_END.search(taken, searched)):
                if _responds(bytes(taken[event : end.start()])):
                    return bytes(taken[: end.end()]), False
                event = searched = end.end()
            # Never from the event's start again: a server that drips would have the whole searched for each byte.
            searched = max(event, len(taken) - 3)
            if len(taken) > MAX_BODY_BYTES:
                return bytes(taken[:MAX_BODY_BYTES]), True
    except (OSError, HTTPException):
        return bytes(taken), True
    return bytes(taken), bool(answer.length)


def _responds(event: bytes) -> bool:
    """Whether an event holds a JSON-RPC response: an MCP server may keep the stream open after it."""
    lines = [line.partition(b":") for line in event.splitlines()]
    data = b"\n".join(value.removeprefix(b" ") for field, _, value in lines if field == b"data")
    try:
        said: Any = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and ("result" in said or "error" in said)
