"""Connections of the functions to shims: pinned, bounded, and with one deadline for each whole answer."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from socket import create_server, socket

import pytest
from flask import Flask

from functions.adapters import pinned
from functions.adapters.shim import ShimClient
from functions.domain.errors import ToolboxRefused, ToolboxUnreachable
from shim import identity
from shim.contract import errors, messages, routes
from tests.shim.functions_client import ADDRESSES, Serve, soon

HEAD = b"HTTP/1.1 200 OK\r\nToolboxes-Contract: 2\r\nContent-Type: application/json\r\n"
Hostile = Callable[[Callable[[ssl.SSLSocket], None]], ShimClient]


@pytest.fixture
def hostile(tmp_path: Path, toolbox_id: str, client_of: Callable[..., ShimClient]) -> Iterator[Hostile]:
    """A client of a server that has the pinned certificate, reads the head of a request and then calls `act`."""
    listeners: list[socket] = []

    def start(act: Callable[[ssl.SSLSocket], None]) -> ShimClient:
        address = next(ADDRESSES)
        listeners.append(listener := create_server((address, routes.PORT)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.ensure_certificate(tmp_path, toolbox_id))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    threading.Thread(target=answer, args=(accepted,), daemon=True).start()

        def answer(accepted: socket) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(accepted, server_side=True) as secured:
                while b"\r\n\r\n" not in secured.recv(65_536):
                    pass
                act(secured)

        threading.Thread(target=serve, daemon=True).start()
        return client_of(address)

    yield start
    for listener in listeners:
        listener.close()


def drip(data: bytes, pause: float = 0.3) -> Callable[[ssl.SSLSocket], None]:
    def act(connected: ssl.SSLSocket) -> None:
        for byte in data:
            connected.sendall(bytes([byte]))
            time.sleep(pause)

    return act


@pytest.mark.parametrize("sent", [HEAD, HEAD + b"X: 1\r\n" * 50, b"HTTP/1.1 100 Continue\r\n\r\n" * 50])
def test_head_sent_byte_by_byte_ends_at_the_deadline(hostile: Hostile, sent: bytes) -> None:
    client, began = hostile(drip(sent)), time.monotonic()
    with pytest.raises(errors.OutcomeUnknown):
        client.command(routes.STATUS, start_by=soon(), within=1)
    assert 0.9 < time.monotonic() - began < 2


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"])
def test_body_sent_byte_by_byte_ends_at_the_deadline(hostile: Hostile, framing: bytes) -> None:
    def act(connected: ssl.SSLSocket) -> None:
        connected.sendall(HEAD + framing)
        drip(b"1\r\nx\r\n" * 50)(connected)

    client, began = hostile(act), time.monotonic()
    with pytest.raises(errors.OutcomeUnknown):
        client.command(routes.STATUS, start_by=soon(), within=1)
    assert 0.9 < time.monotonic() - began < 2


def test_handshake_that_never_ends_is_unreachable(
    client_of: Callable[..., ShimClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned, "CONNECT_SECONDS", 1.0)
    address = next(ADDRESSES)
    with create_server((address, routes.PORT)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with contextlib.suppress(OSError), accepted:
                accepted.recv(65_536)
                for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 50:
                    accepted.sendall(bytes([byte]))
                    time.sleep(0.3)

        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(ToolboxUnreachable):
            client_of(address).command(routes.STATUS, start_by=soon())
        assert time.monotonic() - began < 2.5


def test_line_of_a_log_sent_byte_by_byte_ends_at_its_deadline(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.adapters.shim.FOLLOW_LINE_SECONDS", 1.0)

    def act(connected: ssl.SSLSocket) -> None:
        connected.sendall(HEAD + b"\r\n{}\n")
        drip(b"x" * 50)(connected)

    lines = hostile(act).follow("x", start_by=soon(), query="")
    assert next(lines) == messages.FollowLine()
    began = time.monotonic()
    with pytest.raises(errors.OutcomeUnknown):
        next(lines)
    assert 0.9 < time.monotonic() - began < 2
    lines.close()


def test_pull_that_never_ends_ends_at_its_deadline(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.adapters.shim.PULL_SECONDS", 1.0)

    def act(connected: ssl.SSLSocket) -> None:
        connected.sendall(HEAD + b"\r\n")
        for _ in range(100):
            connected.sendall(b'{"layer": {"id": "a", "status": "Waiting"}}\n')
            time.sleep(0.1)

    client, began = hostile(act), time.monotonic()
    with pytest.raises(errors.OutcomeUnknown):
        client.pull(messages.Pull("x"), start_by=soon(), on_progress=lambda _: None)
    assert 0.9 < time.monotonic() - began < 2


@pytest.mark.parametrize(
    "body",
    [b"[" * 1_000_000, b'{"a":' * 1_000_000, b" " * (9 << 20), b'{"version": "\\ud800"}', b"\xff", b'{"version": NaN}'],
    ids=["lists", "objects", "large", "surrogate", "bytes", "nan"],
)
def test_hostile_body_is_refused(serve: Serve, client_of: Callable[..., ShimClient], body: bytes) -> None:
    app, header = Flask("hostile"), {routes.CONTRACT_HEADER: str(routes.CONTRACT)}
    app.add_url_rule("/status", view_func=lambda: (body, 200, header))
    with pytest.raises(ToolboxRefused):
        client_of(serve(app)).command(routes.STATUS, start_by=soon())


def test_kept_connection_that_the_shim_closed_is_replaced(
    serve: Serve, client_of: Callable[..., ShimClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, header = Flask("shim"), {routes.CONTRACT_HEADER: str(routes.CONTRACT)}
    health = '{"status": "", "version": "", "contract": 2}'
    app.add_url_rule("/health", view_func=lambda: (health, 200, header))
    client = client_of(serve(app))
    for _ in range(3):
        client.command(routes.HEALTH, start_by=soon())
    [idle] = client._connections._idle
    assert idle.is_usable()
    assert idle.sock
    monkeypatch.setattr("shim.server.IDLE_SECONDS", 0)
    deadline = time.monotonic() + 5
    while idle.is_usable() and time.monotonic() < deadline:
        time.sleep(0.05)
    monkeypatch.undo()
    assert client.command(routes.HEALTH, start_by=soon()).contract == 2
    assert client._connections._idle != [idle]


def test_expired_command_is_stale_and_not_sent_late(client: ShimClient) -> None:
    with pytest.raises(errors.TokenStale):
        client.command(routes.STATUS, start_by=soon() - timedelta(seconds=60))


def test_new_connection_loads_no_certificate_authorities(
    client_of: Callable[..., ShimClient], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the system's certificate authorities were loaded")

    app, header = Flask("shim"), {routes.CONTRACT_HEADER: str(routes.CONTRACT)}
    app.add_url_rule("/health", view_func=lambda: ('{"status": "", "version": "", "contract": 2}', 200, header))
    address = serve(app)
    client = client_of(address)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", fail)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", fail)
    client.command(routes.HEALTH, start_by=soon())
