"""The engine's log stream, taken apart. Pure; memory is bounded whatever a container wrote.

Without a TTY each message is a frame: a byte for the stream, three of nothing, a big-endian length, the message, here
with Docker's time before it. A line longer than 16 KiB comes as several messages, all but the last without a newline.
Source: https://docs.docker.com/reference/api/engine/, "Stream format".
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime

from shim.contract import errors, messages, names
from shim.contract.messages import FollowLine, LogLine, Logs

DEFAULT_LINES = 200
MAX_BYTES = 1_000_000
MAX_LINE_BYTES = 64 * 1024
_SINCE = re.compile(r"(?P<day>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<nano>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)")
_STREAMS = {1: "stdout", 2: "stderr"}


def newest(chunks: Iterable[bytes], tail: int) -> Logs:
    """The last `tail` lines, or those of them that fit into MAX_BYTES of text."""
    kept: deque[LogLine] = deque()
    size, truncated = 0, False
    for line in filter(None, _lines(frames(chunks))):
        kept.append(line)
        size += len(line.text.encode())
        while len(kept) > tail or size > MAX_BYTES:
            size -= len(kept.popleft().text.encode())
            truncated = True
    return Logs(list(kept), truncated)


def followed(chunks: Iterable[bytes]) -> Iterator[FollowLine]:
    """Each line as it comes; an empty chunk is a sign of life."""
    return (FollowLine(line) for line in _lines(frames(chunks)))


def line_count(text: str) -> int:
    """How many lines a query asks for, "" for the default. Raises Refused."""
    if re.fullmatch(r"\d{1,4}|", text) is None or not 0 < (count := int(text or DEFAULT_LINES)) <= names.MAX_LOG_LINES:
        raise errors.Refused(f"tail is not between 1 and {names.MAX_LOG_LINES}")
    return count


def since(text: str) -> str:
    """Seconds with nine decimals, as the engine wants it, from seconds or RFC 3339; "" is from the start.

    Raises Refused.
    """
    if re.fullmatch(r"(\d{1,11}(\.\d{1,9})?)?", text):
        return text or "0"
    try:
        match = _SINCE.fullmatch(text.upper())
        if match:
            seconds = datetime.fromisoformat(match["day"] + match["zone"]).timestamp()
            return f"{max(0, int(seconds))}.{match['nano'] or '0'}"
    except ValueError:
        pass
    raise errors.Refused(f"since {text[:64]!r} is neither seconds since 1970 nor a time in RFC 3339")


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Stream and message, both empty for an empty chunk. What broke off in the middle of a frame was no message."""
    pending = bytearray()
    for chunk in chunks:
        if not chunk:
            yield "", b""
        pending += chunk
        while len(pending) >= 8 and len(pending) >= 8 + (length := struct.unpack_from(">I", pending, 4)[0]):
            yield _STREAMS.get(pending[0], "stdout"), bytes(pending[8 : 8 + length])
            del pending[: 8 + length]


def _lines(messages_of: Iterable[tuple[str, bytes]]) -> Iterator[LogLine | None]:
    """None stands for an empty chunk."""
    open_lines: dict[str, tuple[bytes, bytes]] = {}
    for stream, message in messages_of:
        if not stream:
            yield None
            continue
        time, _, text = message.partition(b" ")
        began, before = open_lines.pop(stream, (time, b""))
        if text.endswith(b"\n") or len(before) + len(text) >= MAX_LINE_BYTES:
            yield _line(stream, began, before + text)
        else:
            open_lines[stream] = began, before + text
    for stream, (began, text) in open_lines.items():
        yield _line(stream, began, text)


def _line(stream: str, time: bytes, text: bytes) -> LogLine:
    return LogLine(time.decode("ascii", "replace"), stream, messages.text(text.rstrip(b"\r\n")))
