"""The server: TLS, slow and hostile clients, limits of bodies, idle connections, and its shutdown."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shim import identity, server
from shim.__main__ import server_for
from shim.contract import messages, routes
from shim.server import Server
from tests.shim.caller import Caller, TlsCaller
from tests.shim.droplet import create, free_port
from tests.shim.fake_engine import FakeEngine, Handler

REQUEST_SECONDS = 2.0


@dataclass(frozen=True)
class Served:
    server: Server
    caller: TlsCaller


@pytest.fixture
def served(tmp_path: Path, caller: Caller, toolbox_id: str) -> Iterator[Served]:
    """The app on a fake engine, over real TLS."""
    port, pem = free_port(), identity.ensure_certificate(tmp_path, toolbox_id)
    started = server_for(caller.app, pem, ("127.0.0.1", port), REQUEST_SECONDS)
    started.prepare()
    thread = threading.Thread(target=started.serve)
    thread.start()
    yield Served(started, TlsCaller(caller.key, caller.audience, port))
    started.stop()
    thread.join()


@pytest.fixture
def tls(served: Served) -> TlsCaller:
    return served.caller


def secured(port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)))


def raw(port: int, request: bytes, timeout: float = 10) -> bytes:
    """All bytes that the server sends before it closes the connection."""
    with secured(port) as connected:
        connected.settimeout(timeout)
        received = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            connected.sendall(request)
            while part := connected.recv(65_536):
                received += part
        return received


def test_presented_certificate_has_the_pinned_fingerprint(tls: TlsCaller) -> None:
    with secured(tls.port) as connected:
        presented = connected.getpeercert(binary_form=True)
        assert presented and tls.audience.endswith("/" + hashlib.sha256(presented).hexdigest())
        assert connected.version() == "TLSv1.3"


def test_tls_1_2_is_refused(tls: TlsCaller) -> None:
    tls.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls.send("GET", "/health", {}, b"")


def test_kept_connection_serves_many_commands_also_after_a_pause(tls: TlsCaller) -> None:
    connection = tls.connect()
    for number in range(5):
        header = {"Authorization": "Bearer " + tls.token("GET", "/status")}
        connection.request("GET", "/status", headers=header)
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")
        time.sleep(0.3 if number % 2 else 0)
    connection.close()


def test_connections_without_a_first_byte_cost_no_thread(served: Served) -> None:
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", served.caller.port)) for _ in range(300)]
    began = time.monotonic()
    assert served.caller.call(routes.STATUS).status == 200
    assert time.monotonic() - began < 2
    assert threading.active_count() - before <= 3
    for connection in silent:
        connection.close()


def test_idle_connections_cost_no_thread(served: Served) -> None:
    before, connections = threading.active_count(), []
    for _ in range(60):
        connection = served.caller.connect()
        connection.request("GET", "/health")
        connection.getresponse().read()
        connections.append(connection)
    time.sleep(0.2)
    assert not [connection for connection in served.server._all if connection.busy]
    assert threading.active_count() - before <= 30
    connections[0].request("GET", "/health")
    assert connections[0].getresponse().status == 200
    for connection in connections:
        connection.close()


def test_idle_connection_is_closed(tls: TlsCaller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 1)
    began = time.monotonic()
    assert raw(tls.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert 0.5 < time.monotonic() - began < 5


def test_more_connections_than_allowed_are_closed_at_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    silent = [socket.create_connection(("127.0.0.1", served.caller.port)) for _ in range(40)]
    for connection in silent[30:]:
        connection.settimeout(5)
        assert connection.recv(1) == b""
    for connection in silent:
        connection.close()
    time.sleep(0.2)
    assert served.caller.call(routes.STATUS).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00" * 100,
        b"GET http://x/health HTTP/1.1\r\n\r\n",
        b"GET health HTTP/1.1\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /health HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nBad Header: 1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: " + b"y" * 200_000,
        b"GET /health HTTP/1.1\r\n" + b"X: 1\r\n" * 300 + b"\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        b"\r\n" * 50_000,
        b"GET /health HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_malformed_request_gets_no_good_answer_and_harms_nobody(tls: TlsCaller, request_bytes: bytes) -> None:
    assert b" 200 " not in raw(tls.port, request_bytes, timeout=4)
    assert tls.call(routes.STATUS).status == 200


def test_plain_http_ends_that_connection_only(tls: TlsCaller) -> None:
    with socket.create_connection(("127.0.0.1", tls.port)) as plain:
        plain.settimeout(5)
        with contextlib.suppress(ConnectionError):
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            plain.recv(100)
    assert tls.call(routes.STATUS).status == 200


def test_second_request_sent_too_early_is_not_answered(tls: TlsCaller) -> None:
    """No client of a shim pipelines. The server answers only the first, so that it cannot swap two answers."""
    answer = raw(tls.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    assert answer.count(b"HTTP/1.1 200 ") == 1 and b"Connection: close" in answer


# Bodies.


def test_body_over_one_megabyte_is_refused(tls: TlsCaller) -> None:
    answer = tls.raw("POST", "/tools", b" " * (routes.MAX_BODY_BYTES + 1))
    assert (answer.status, answer.code) == (413, "body-too-large")


def test_chunked_body_is_accepted(tls: TlsCaller) -> None:
    body = json.dumps({"references": []}).encode()
    token = tls.token("POST", "/images/remove", body)
    head = (
        f"POST /images/remove HTTP/1.1\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    with secured(tls.port) as connected:
        connected.settimeout(5)
        connected.sendall(head + b"5\r\n" + body[:5] + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body) - 5, body[5:]))
        assert connected.recv(1_000).startswith(b"HTTP/1.1 200 ")


def test_token_is_refused_before_the_body_is_sent(tls: TlsCaller) -> None:
    with secured(tls.port) as connected:
        connected.settimeout(5)
        connected.sendall(b"POST /tools HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
        assert connected.recv(1_000).startswith(b"HTTP/1.1 401 ")


def test_good_token_is_answered_100_continue_and_a_bad_one_is_not(tls: TlsCaller) -> None:
    body = messages.dump(messages.RemoveImages([]))
    for token, first in ((tls.token("POST", "/images/remove", body), b"HTTP/1.1 100 "), ("x", b"HTTP/1.1 401 ")):
        head = f"POST /images/remove HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
        with secured(tls.port) as connected:
            connected.settimeout(5)
            connected.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert connected.recv(1_000).startswith(first)


def test_unsigned_request_can_send_16_kib_and_no_more(served: Served) -> None:
    with secured(served.caller.port) as connected:
        connected.settimeout(5)
        sent, began = 0, time.monotonic()
        connected.sendall(b"POST /tools HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        assert connected.recv(1_000).startswith(b"HTTP/1.1 401 ")
        with contextlib.suppress(ssl.SSLError, ConnectionError, TimeoutError):
            while time.monotonic() - began < 5:
                sent += connected.send(b"x" * 4_096)
                time.sleep(0.02)
    # The kernel's buffers hold some bytes in addition, which are not memory of the shim.
    assert sent < 300_000
    assert served.server.budget._left == server.BODY_BUDGET_BYTES


def test_bodies_in_flight_share_one_budget(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.server.budget._left = 300_000
    token = served.caller.token("POST", "/tools", b"x" * 250_000)
    head = f"POST /tools HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 250000\r\n\r\n".encode()
    with secured(served.caller.port) as slow:
        slow.sendall(head + b"x" * 200_000)
        deadline = time.monotonic() + 5
        while served.server.budget._left > 150_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        answer = served.caller.raw("POST", "/tools", b"y" * 250_000)
        assert (answer.status, answer.code) == (503, "too-many-at-once")
    deadline = time.monotonic() + REQUEST_SECONDS + 3
    while served.server.budget._left < 300_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert served.server.budget._left == 300_000
    assert served.caller.raw("POST", "/tools", b"y" * 250_000).code == "bad-request"


# Slow clients.


def drip(port: int, request: bytes) -> ssl.SSLSocket:
    """A client that sends the last 40 bytes of the request one by one, half a second apart: too slow to be answered."""
    connected = secured(port)
    connected.sendall(request[:-40])

    def send() -> None:
        with contextlib.suppress(OSError):
            for byte in request[-40:]:
                time.sleep(0.5)
                connected.sendall(bytes([byte]))

    threading.Thread(target=send, daemon=True).start()
    return connected


def slow_head(_: TlsCaller) -> bytes:
    return b"GET /health HTTP/1.1\r\n" + b"X: " + b"y" * 60


def slow_body(by: TlsCaller) -> bytes:
    token = by.token("POST", "/tools", b"{" * 100)
    head = f"POST /tools HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n"
    return head.encode() + b"{" * 60


@pytest.mark.parametrize("request_of", [slow_head, slow_body])
def test_slow_client_is_cut_off_after_the_time_for_the_whole_request(
    tls: TlsCaller, request_of: Callable[[TlsCaller], bytes]
) -> None:
    began = time.monotonic()
    slow = [drip(tls.port, request_of(tls)) for _ in range(3)]
    for client in slow:
        client.settimeout(REQUEST_SECONDS + 5)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            while client.recv(1000):
                pass
        client.close()
    assert REQUEST_SECONDS - 1 < time.monotonic() - began < REQUEST_SECONDS + 3
    assert tls.call(routes.STATUS).status == 200


def test_slow_handshake_is_cut_off(tls: TlsCaller) -> None:
    with socket.create_connection(("127.0.0.1", tls.port)) as plain:
        plain.settimeout(REQUEST_SECONDS + 5)
        began = time.monotonic()
        plain.sendall(b"\x16\x03\x01\x02\x00")
        with contextlib.suppress(ConnectionError):
            while plain.recv(100):
                pass
        assert time.monotonic() - began < REQUEST_SECONDS + 3


def test_client_that_reads_nothing_is_cut_off(
    served: Served, fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 1)
    entry: dict[str, Any] = {"Id": "sha256:" + "1" * 64, "RepoTags": ["x" * 15_000], "RepoDigests": [], "Size": 1}
    fake_engine.on("GET /images/json", (200, [entry] * 600))
    with secured(served.caller.port) as connected:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        token = served.caller.token("GET", "/images")
        connected.sendall(f"GET /images HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        time.sleep(0.5)
        deadline = time.monotonic() + 10
        while [connection for connection in served.server._all if connection.busy] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [connection for connection in served.server._all if connection.busy]


def test_command_may_last_longer_than_its_request(tls: TlsCaller, fake_engine: FakeEngine) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(REQUEST_SECONDS + 2)
        handler.say(200, [])

    fake_engine.on("GET /containers/json", slow)
    assert tls.call(routes.STATUS).status == 200


def test_stop_answers_what_runs_and_refuses_what_is_new(served: Served, fake_engine: FakeEngine) -> None:
    started = threading.Event()

    def slow(handler: Handler) -> None:
        started.set()
        time.sleep(1)
        handler.say(200, [])

    fake_engine.on("GET /containers/json", slow)
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(served.caller.call(routes.STATUS).status))
    asking.start()
    assert started.wait(5)
    served.server.stop()
    asking.join()
    assert answers == [200]
    with pytest.raises(OSError):
        served.caller.send("GET", "/health", {}, b"")


def test_many_clients_at_once_are_all_answered(tls: TlsCaller, name: str) -> None:
    codes: list[str] = []

    def run() -> None:
        connection = tls.connect()
        for _ in range(10):
            target = routes.INSPECT.target(name)
            connection.request("GET", target, headers={"Authorization": "Bearer " + tls.token("GET", target)})
            codes.append(json.loads(connection.getresponse().read())["error"]["code"])
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == ["no-such-container"] * 400


def test_create_with_its_body_in_many_pieces_is_read_whole(tls: TlsCaller, fake_engine: FakeEngine) -> None:
    body = messages.dump(create("probe:1", environment={"A": "x" * 100_000}))
    token = tls.token("POST", "/tools", body)
    head = f"POST /tools HTTP/1.1\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with secured(tls.port) as connected:
        connected.settimeout(5)
        for start in range(0, len(head + body), 9_000):
            connected.sendall((head + body)[start : start + 9_000])
            time.sleep(0.01)
        # The fake engine creates no container.
        assert b"no-such-image" in connected.recv(1_000)
    assert "POST /containers/create" in fake_engine.calls
