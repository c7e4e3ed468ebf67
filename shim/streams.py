"""Logs, commands run in a container, and the relay: what comes out of a container, passed on within bounds.

The engine's stream format: without a TTY each message is a frame of one byte for the stream, three zeros, a big-endian
length and the message, which in a log begins with Docker's time. A line longer than 16 KiB comes as several messages,
all but the last without a newline. Source: https://docs.docker.com/reference/api/engine/, "Stream format".
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime

from shim import spec
from shim.containers import LIVE, Containers, after_act, require_running
from shim.contract import errors, messages, names, routes
from shim.contract.messages import MAX_STREAM_BYTES, Execute, Executed, FollowLine, LogLine, Logs
from shim.contract.tokens import Claims
from shim.docker import Engine
from shim.http1 import Abandoned, Exchange, HasFileno

DEFAULT_LINES = 200
MAX_LOG_BYTES = 1_000_000
MAX_LINE_BYTES = 64 * 1024
CONNECT_SECONDS = 5.0
_SINCE = re.compile(r"(?P<day>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(?P<nano>\d{1,9}))?(?P<zone>Z|[+-]\d\d:\d\d)")
_VISIBLE = re.compile(r"[\t\x20-\x7e]*")
_STREAMS = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """`path` is the container's own, with its query; `headers` are those of the command that may pass."""

    port: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class RelayAnswer:
    """The container's answer. `is_whole`: `chunks` holds all of the body already."""

    status: int
    headers: list[tuple[str, str]]
    chunks: Iterator[bytes]
    is_whole: bool


class Streams:
    """What streams to and from containers: logs, executed commands, relayed requests."""

    def __init__(self, engine: Engine, containers: Containers) -> None:
        self._engine, self._containers = engine, containers

    def logs(self, name: str, tail: int, since: str) -> Logs:
        """The last `tail` lines since `since`: seconds since 1970 with up to nine decimals."""
        _, container = self._containers.must_inspect(name)
        # One more line than requested shows whether there are more.
        return newest_lines(self._engine.logs(container.id, tail + 1, since), tail)

    def follow(self, name: str, tail: int, since: str) -> Iterator[FollowLine]:
        """The last `tail` lines since `since`, and each further one, until the container stops.

        Raises Transient where the log ends before the container does: the engine stopped, or restarted the container.
        """
        container_id = self._containers.must_inspect(name)[1].id
        yield from (
            FollowLine(line) for line in parse_lines(parse_frames(self._engine.follow(container_id, tail, since)))
        )
        if (now := self._containers.find(container_id)) and now.state in LIVE:
            raise errors.Transient(f"The log ended, and container {name} is {now.state}. Follow it again.")

    def execute(self, name: str, body: Execute, claims: Claims) -> Executed:
        """Raises NotRunning, StartFailed. Other commands wait until this one has started, and not for its end."""
        with self._containers.locked(name, claims) as before:
            require_running(before)
            exec_id, stream = self._engine.execute(before.id, body)
        with closing(stream):
            out, err, truncated, ended = exchange_streams(stream, body.stdin, body.timeout)
        exit_code = after_act(lambda: self._engine.exit_code(exec_id)) if ended else None
        # The engine reports it in the command's own output: 126 is "cannot be run", 127 "not found".
        if exit_code in (126, 127) and out.startswith("OCI runtime exec failed"):
            raise errors.StartFailed(f"The engine answered: {out.strip()}")
        container = after_act(lambda: self._containers.must_find(before.id))
        return Executed(container, exit_code, out, err, truncated)

    def relay(self, name: str, request: RelayRequest, caller: HasFileno | None) -> RelayAnswer:
        """One HTTP request to the container's own address, and to no other: no redirect is followed.

        Nothing of it is interpreted. The answer is read for as long as `caller` is connected, and no longer: the
        container sees its connection close when the caller closes its own. Raises NotAnswering, NotRunning.
        """
        found, _ = self._containers.must_run(name)
        address = spec.address(found)
        if not address:
            raise errors.NotAnswering(f"Container {name} has no address.")
        try:
            exchange = Exchange(socket.create_connection((address, request.port), CONNECT_SECONDS))
        except OSError as error:
            raise errors.NotAnswering(f"Nothing listens on port {request.port} of {name}: {error}") from error
        try:
            exchange.sock.settimeout(None)
            exchange.send(request.method, request.path, [*request.headers, ("Connection", "close")], request.body)
            exchange.read_head(caller=caller)
        except (OSError, Abandoned) as error:
            exchange.close()
            cause = "the caller closed its connection" if isinstance(error, Abandoned) else error
            raise errors.NotAnswering(f"Port {request.port} of {name} did not answer: {cause}") from error
        headers = [
            (key, value)
            for key, value in exchange.headers
            if routes.RELAY_RESPONSE_HEADER.fullmatch(key) and _VISIBLE.fullmatch(value)
        ]
        is_whole = exchange.is_complete
        return RelayAnswer(exchange.status, headers, _relayed_body(exchange, caller), is_whole)


def relay_headers(headers: Iterable[tuple[str, str]], port: int) -> list[tuple[str, str]]:
    """Those of a command's headers that pass to the container. Raises Refused."""
    passed = [(name.lower(), value) for name, value in headers if routes.RELAY_REQUEST_HEADER.fullmatch(name.lower())]
    if len(passed) > routes.MAX_RELAY_HEADERS:
        raise errors.Refused(f"A relayed request may have at most {routes.MAX_RELAY_HEADERS} headers.")
    for name, value in passed:
        if len(value) > routes.MAX_RELAY_HEADER_CHARACTERS or not _VISIBLE.fullmatch(value):
            raise errors.Refused(
                f"Header {name[:64]} must have visible ASCII characters, at most {routes.MAX_RELAY_HEADER_CHARACTERS}."
            )
    return passed if any(name == "host" for name, _ in passed) else [("host", f"localhost:{port}"), *passed]


def newest_lines(chunks: Iterable[bytes], tail: int) -> Logs:
    """The last `tail` lines, or those of them that fit into MAX_LOG_BYTES of text. Memory is bounded by that."""
    retained: deque[LogLine] = deque()
    size, truncated = 0, False
    for line in filter(None, parse_lines(parse_frames(chunks))):
        retained.append(line)
        size += len(line.text.encode())
        while len(retained) > tail or size > MAX_LOG_BYTES:
            size -= len(retained.popleft().text.encode())
            truncated = True
    return Logs(list(retained), truncated)


def parse_tail(text: str) -> int:
    """How many lines a query requests, "" for the default. Raises Refused."""
    if (
        re.fullmatch(r"[0-9]{1,4}|", text) is None
        or not 0 < (count := int(text or DEFAULT_LINES)) <= names.MAX_LOG_LINES
    ):
        raise errors.Refused(f"tail must be between 1 and {names.MAX_LOG_LINES}, not {text[:64]!r}.")
    return count


def parse_since(text: str) -> str:
    """Seconds with nine decimals, as the engine expects, from seconds or RFC 3339; "" is from the start.

    Text and not a float, which rounds nanoseconds, so that a line would be read twice. Raises Refused.
    """
    if re.fullmatch(r"([0-9]{1,11}(\.[0-9]{1,9})?)?", text):
        return text or "0"
    with suppress(ValueError):
        if match := _SINCE.fullmatch(text.upper()):
            seconds = datetime.fromisoformat(match["day"] + match["zone"]).timestamp()
            return f"{max(0, int(seconds))}.{match['nano'] or '0'}"
    raise errors.Refused(f"since must be seconds since 1970 or a time in RFC 3339, not {text[:64]!r}.")


def parse_frames(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Stream and message; both empty for an empty chunk. A frame that is cut off in the middle is dropped."""
    pending = bytearray()
    for chunk in chunks:
        if not chunk:
            yield "", b""
        pending += chunk
        while len(pending) >= 8 and len(pending) >= 8 + (length := struct.unpack_from(">I", pending, 4)[0]):
            yield _STREAMS.get(pending[0], "stdout"), bytes(pending[8 : 8 + length])
            del pending[: 8 + length]


def parse_lines(frames: Iterable[tuple[str, bytes]]) -> Iterator[LogLine | None]:
    """Whole lines; None for an empty chunk."""
    open_lines: dict[str, tuple[bytes, bytes]] = {}
    for stream, message in frames:
        if not stream:
            yield None
            continue
        written_at, _, text = message.partition(b" ")
        first, before = open_lines.pop(stream, (written_at, b""))
        if text.endswith(b"\n") or len(before) + len(text) >= MAX_LINE_BYTES:
            yield _line(stream, first, before + text)
        else:
            open_lines[stream] = first, before + text
    for stream, (first, text) in open_lines.items():
        yield _line(stream, first, text)


def exchange_streams(stream: Exchange, stdin: str, seconds: float) -> tuple[str, str, bool, bool]:
    """Standard output and error of an exec, whether they were cut, and whether it ended in time. Raises OSError."""
    retained = {"stdout": bytearray(), "stderr": bytearray()}
    truncated, in_time = False, True
    # In a thread of its own: a command that writes before it reads would wait for us, and we for it.
    feeding = threading.Thread(target=_feed, args=(stream.sock, stdin.encode()))
    feeding.start()
    try:
        for name, message in parse_frames(stream.chunks(ends=time.monotonic() + seconds)):
            space = MAX_STREAM_BYTES - len(retained[name])
            retained[name] += message[:space]
            truncated = truncated or len(message) > space
    except TimeoutError:
        in_time = False
    finally:
        with suppress(OSError):
            stream.sock.shutdown(socket.SHUT_RDWR)
        feeding.join()
    out, err = (messages.text(bytes(text)) for text in retained.values())
    return out, err, truncated, in_time


def _feed(connected: socket.socket, stdin: bytes) -> None:
    # A process need not read its input.
    with suppress(OSError):
        connected.settimeout(None)
        connected.sendall(stdin)
        connected.shutdown(socket.SHUT_WR)


def _relayed_body(exchange: Exchange, caller: HasFileno | None) -> Iterator[bytes]:
    # An error in the middle is raised: the server then closes the caller's connection before the body's end, which is
    # how HTTP reports an incomplete answer.
    try:
        yield from exchange.chunks(caller=caller)
    except Abandoned as error:
        raise ConnectionResetError("the caller closed its connection") from error
    finally:
        exchange.close()


def _line(stream: str, written_at: bytes, text: bytes) -> LogLine:
    return LogLine(written_at.decode("ascii", "replace"), stream, messages.text(text.rstrip(b"\r\n")))
