"""HTTP over a socket: an answer is complete or an error, and an idle connection that ended is replaced."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from shim.contract import errors
from shim.docker import Engine
from shim.http1 import Abandoned, Exchange

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class ScriptedServer:
    """Accepts one connection after the other, sends it one of its answers for each request, and closes it."""

    def __init__(self, path: Path, *connections: Sequence[bytes]) -> None:
        self.path, self.requests = str(path), 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(connections,), daemon=True)
        self._thread.start()

    def _serve(self, connections: Sequence[Sequence[bytes]]) -> None:
        for answers in connections:
            accepted, _ = self._listener.accept()
            with closing(accepted):
                for answer in answers:
                    while not accepted.recv(4096).endswith(b"\r\n\r\n"):
                        pass
                    self.requests += 1
                    accepted.sendall(answer)

    def close(self) -> None:
        self._thread.join(5)
        self._listener.close()


@pytest.fixture
def servers() -> Iterator[list[ScriptedServer]]:
    started: list[ScriptedServer] = []
    yield started
    for server in started:
        server.close()


def connect(server: ScriptedServer) -> Exchange:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(5)
    connected.connect(server.path)
    return Exchange(connected)


def get(exchange: Exchange, max_bytes: int = 1_000) -> tuple[int, bytes]:
    exchange.send("GET", "/", [("Host", "x")])
    body = exchange.read(max_bytes)
    return exchange.status, body


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_chunked_answer_is_read_to_its_end_and_connection_serves_again(
    tmp_path: Path, servers: list[ScriptedServer]
) -> None:
    chunks = CHUNKED + b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    servers.append(server := ScriptedServer(tmp_path / "engine", [chunks, whole(b"{}", b"404 Not Found")]))
    with closing(connect(server)) as exchange:
        assert (get(exchange), get(exchange)) == ((200, b"[1,2]"), (404, b"{}"))


def test_interim_answer_is_skipped(tmp_path: Path, servers: list[ScriptedServer]) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    servers.append(server := ScriptedServer(tmp_path / "engine", [hints + whole(b"1")]))
    with closing(connect(server)) as exchange:
        assert get(exchange) == (200, b"1")
        assert exchange.headers == [("content-length", "1")]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1",
        CHUNKED,
        CHUNKED + b"5\r\n[1",
        CHUNKED + b"3\r\n[1]\r\n",
        CHUNKED + b"many\r\n[1]\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 300,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        whole(b"x" * 2_000),
    ],
)
def test_incomplete_or_oversized_answer_is_an_error(
    tmp_path: Path, servers: list[ScriptedServer], answer: bytes
) -> None:
    servers.append(server := ScriptedServer(tmp_path / "engine", [answer]))
    with closing(connect(server)) as exchange, pytest.raises(ConnectionError):
        get(exchange)


def test_body_without_length_ends_with_its_connection(tmp_path: Path, servers: list[ScriptedServer]) -> None:
    servers.append(server := ScriptedServer(tmp_path / "engine", [b"HTTP/1.1 200 OK\r\n\r\nraw"]))
    with closing(connect(server)) as exchange:
        assert get(exchange) == (200, b"raw")


def test_silence_deadline_and_caller_end_the_wait() -> None:
    ours, theirs = socket.socketpair()
    caller, client = socket.socketpair()
    with closing(Exchange(ours)) as exchange, closing(theirs), closing(caller):
        exchange.send("GET", "/", [])
        theirs.sendall(CHUNKED)
        exchange.read_head(ends=time.monotonic() + 5)
        chunks = exchange.chunks(silence=0.05, caller=caller)
        assert [next(chunks), next(chunks)] == [b"", b""]
        theirs.sendall(b"1\r\na\r\n")
        assert next(chunks) == b"a"
        with pytest.raises(TimeoutError):
            next(exchange.chunks(ends=time.monotonic() + 0.05))
        client.close()
        with pytest.raises(Abandoned):
            next(chunks)


def test_engine_connection_that_ended_while_idle_is_replaced(tmp_path: Path, servers: list[ScriptedServer]) -> None:
    version = whole(b'{"ApiVersion": "1.41"}')
    answers = [[version], [whole(b'{"Id": "1"}')], [whole(b'{"Id": "2"}')]]
    servers.append(server := ScriptedServer(tmp_path / "engine", *answers))
    engine = Engine(f"unix://{server.path}")
    assert (engine.data_id(), engine.data_id(), server.requests) == ("1", "2", 3)


def test_engine_error_carries_its_message(tmp_path: Path, servers: list[ScriptedServer]) -> None:
    version = whole(b'{"ApiVersion": "1.41"}')
    refused = whole(b'{"message": "no such thing"}', b"404 Not Found")
    servers.append(server := ScriptedServer(tmp_path / "engine", [version], [refused, whole(b'{"Id": "2"}')]))
    engine = Engine(f"unix://{server.path}")
    with pytest.raises(errors.NoSuchContainer, match="no such thing"):
        engine.data_id()
    assert engine.data_id() == "2"
