"""The engine's socket asked by hand: answers whole or not at all, and connections that end while nobody uses them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from shim.daemon import Daemon, Refusal

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Scripted:
    """Takes one connection after the other; each is given its answers, one for each request, and is then closed."""

    def __init__(self, path: Path, *connections: Sequence[bytes]) -> None:
        self.path, self.asked = str(path), 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._serving = threading.Thread(target=self._serve, args=(connections,), daemon=True)
        self._serving.start()

    def _serve(self, connections: Sequence[Sequence[bytes]]) -> None:
        for answers in connections:
            connected, _ = self._listening.accept()
            with closing(connected):
                for answer in answers:
                    while not connected.recv(4096).endswith(b"\r\n\r\n"):
                        pass
                    self.asked += 1
                    connected.sendall(answer)

    def end(self) -> None:
        self._serving.join(5)
        self._listening.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[list[Scripted]]:
    made: list[Scripted] = []
    yield made
    for one in made:
        one.end()


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_an_answer_in_chunks_is_read_to_its_end_and_the_connection_serves_again(
    tmp_path: Path, served: list[Scripted]
) -> None:
    chunks = CHUNKED + b"3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n"
    served.append(engine := Scripted(tmp_path / "engine", [chunks, whole(b"{}")]))
    daemon = Daemon(engine.path)
    assert (daemon.read("/a"), daemon.read("/b")) == (b"[1,2]", b"{}")


def test_a_refusal_is_told_and_the_connection_serves_again(tmp_path: Path, served: list[Scripted]) -> None:
    refused = whole(b'{"message": "no such thing"}', b"404 Not Found")
    served.append(engine := Scripted(tmp_path / "engine", [refused, whole(b"{}")]))
    daemon = Daemon(engine.path)
    with pytest.raises(Refusal, match="no such thing") as raised:
        daemon.read("/a")
    assert (raised.value.status, daemon.read("/b")) == (404, b"{}")


def test_a_connection_that_ended_while_it_was_idle_costs_another_one_and_nothing_else(
    tmp_path: Path, served: list[Scripted]
) -> None:
    served.append(engine := Scripted(tmp_path / "engine", [whole(b"1")], [whole(b"2")]))
    daemon = Daemon(engine.path)
    assert (daemon.read("/a"), daemon.read("/b"), engine.asked) == (b"1", b"2", 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1",
        CHUNKED,
        CHUNKED + b"5\r\n[1",
        CHUNKED + b"3\r\n[1]\r\n",
        CHUNKED + b"many\r\n[1]\r\n0\r\n\r\n",
    ],
)
def test_an_answer_without_its_end_is_no_answer(tmp_path: Path, served: list[Scripted], answer: bytes) -> None:
    served.append(engine := Scripted(tmp_path / "engine", [answer]))
    with pytest.raises(ConnectionResetError):
        Daemon(engine.path).read("/a")
    assert engine.asked == 1
