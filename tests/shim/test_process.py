"""What the process does before and beside serving: configuration, certificate, TLS, slow clients."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shim import certificate
from shim.configuration import Unconfigured, read
from shim.contract import routes, tokens
from shim.server import ShimServer
from tests.shim.caller import Caller, TlsCaller
from tests.shim.droplet import free_port
from tests.shim.fake_engine import FakeEngine, Handler

REQUEST_SECONDS = 2.0
ID = "0a1b2c3d-0000-4000-8000-000000000001"
PUBLIC = Ed25519PrivateKey.generate().public_key()
ENCODED = base64.urlsafe_b64encode(PUBLIC.public_bytes_raw()).decode()
GOOD: dict[str, Any] = {
    "toolbox_id": ID,
    "control_keys": {tokens.kid(PUBLIC): ENCODED},
    "enrol_url": "https://functions.example/enrol",
    "notify_url": "https://functions.example/notify",
    "enrolment_token": "once",
    "shim_repository": "registry/shim",
}


@pytest.mark.parametrize("encoded", [ENCODED, ENCODED.rstrip("=")])
def test_a_configuration_gives_the_toolbox_and_its_keys(encoded: str) -> None:
    given = read(json.dumps(GOOD | {"control_keys": {tokens.kid(PUBLIC): encoded}}))
    assert {name: getattr(given, name) for name in GOOD if name != "control_keys"} == {
        name: value for name, value in GOOD.items() if name != "control_keys"
    }
    assert {kid: key.public_bytes_raw() for kid, key in given.control_keys.items()} == {
        tokens.kid(PUBLIC): PUBLIC.public_bytes_raw()
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"), ("[]", "must hold"), ("{}", "must hold"),
        (json.dumps(GOOD | {"control_key": "private"}), "nothing else"),
        (json.dumps(GOOD | {"toolbox_id": "x"}), "UUID"),
        (json.dumps(GOOD | {"toolbox_id": 1}), "toolbox_id must be a string"),
        (json.dumps(GOOD | {"control_keys": {}}), "at least one"),
        (json.dumps(GOOD | {"shim_repository": 1}), "shim_repository must be a string"),
        (json.dumps(GOOD | {"enrol_url": "http://functions.example/enrol"}), "enrol_url must be an https URL"),
        (json.dumps({name: value for name, value in GOOD.items() if name != "notify_url"}), "must hold"),
        (json.dumps(GOOD | {"control_keys": {"0" * 16: ENCODED}}), "named for another key"),
        (json.dumps(GOOD | {"control_keys": {"a": "AAAA"}}), "no raw Ed25519"),
        (json.dumps(GOOD | {"control_keys": {"a": 1}}), "no raw Ed25519"),
        (json.dumps(GOOD | {"control_keys": {"a": ENCODED + "!"}}), "no raw Ed25519"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_not_whole_is_refused_in_a_sentence(text: str, named: str) -> None:
    with pytest.raises(Unconfigured, match=named):
        read(text)


def test_the_certificate_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = certificate.ensure(tmp_path / "state", ID)
    first = path.read_bytes()
    assert certificate.ensure(tmp_path / "state", ID).read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    made = x509.load_pem_x509_certificate(first)
    assert made.subject.rfc4514_string() == f"CN={ID}"
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days > 36_000


@pytest.fixture
def tls(tmp_path: Path, caller: Caller, toolbox_id: str) -> Iterator[TlsCaller]:
    """The app on a fake engine, over real TLS."""
    port, pem = free_port(), certificate.ensure(tmp_path, toolbox_id)
    served = ShimServer(caller.app, pem, ("127.0.0.1", port), REQUEST_SECONDS)
    served.prepare()
    thread = threading.Thread(target=served.serve)
    thread.start()
    yield TlsCaller(caller.key, caller.audience, port)
    served.stop()
    thread.join()


def test_the_certificate_met_is_the_one_whose_fingerprint_is_pinned(tls: TlsCaller) -> None:
    connection = tls.connect()
    connection.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    met = connection.sock.getpeercert(binary_form=True)
    assert met and tls.audience.endswith("/" + hashlib.sha256(met).hexdigest())
    connection.close()


def test_old_tls_is_refused(tls: TlsCaller) -> None:
    with pytest.deprecated_call():
        tls.context.minimum_version, tls.context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        tls.send("GET", "/health", {}, b"")


def test_a_kept_connection_serves_many_commands(tls: TlsCaller) -> None:
    connection = tls.connect()
    for _ in range(5):
        header = {"Authorization": "Bearer " + tls.token("GET", "/status")}
        connection.request("GET", "/status", headers=header)
        answer = connection.getresponse()
        assert (answer.status, answer.read()[:1]) == (200, b"{")
    connection.close()


def test_clients_that_never_shake_hands_hold_nobody_up(tls: TlsCaller) -> None:
    silent = [socket.create_connection(("127.0.0.1", tls.port)) for _ in range(60)]
    began = time.monotonic()
    assert tls.call(routes.STATUS).status == 200
    assert time.monotonic() - began < 2
    for one in silent:
        one.close()


def test_what_is_no_tls_ends_that_connection_only(tls: TlsCaller) -> None:
    with socket.create_connection(("127.0.0.1", tls.port)) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(5)
        plain.recv(100)
    assert tls.call(routes.STATUS).status == 200


def test_a_body_over_one_megabyte_is_refused_over_tls(tls: TlsCaller) -> None:
    answer = tls.raw("POST", "/tools", b" " * (routes.MAX_BODY_BYTES + 1))
    assert (answer.status, answer.code) == (413, "body-too-large")


def dripping(port: int, pieces: bytes) -> socket.socket:
    """A client over TLS that sends a byte of this every half second, and is never done."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connected = context.wrap_socket(socket.create_connection(("127.0.0.1", port)))
    connected.sendall(pieces[:-40])

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in pieces[-40:]:
                time.sleep(0.5)
                connected.sendall(bytes([byte]))

    threading.Thread(target=drip, daemon=True).start()
    return connected


@pytest.mark.parametrize("head", [b"GET /health HTTP/1.1\r\n" + b"X: " + b"y" * 60, b"POST /tools HTTP/1.1\r\n"
    b"Host: x\r\nContent-Length: 100\r\n\r\n" + b"{" * 60])  # fmt: skip
def test_a_client_that_drips_is_cut_off_in_the_whole_time_it_has(tls: TlsCaller, head: bytes) -> None:
    began = time.monotonic()
    slow = [dripping(tls.port, head) for _ in range(3)]
    for one in slow:
        one.settimeout(REQUEST_SECONDS + 5)
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            while one.recv(1000):
                pass
        one.close()
    assert REQUEST_SECONDS - 1 < time.monotonic() - began < REQUEST_SECONDS + 3
    assert tls.call(routes.STATUS).status == 200


def test_a_command_may_last_longer_than_its_request(tls: TlsCaller, fake_engine: FakeEngine) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(REQUEST_SECONDS + 2)
        handler.say(200, [])

    fake_engine.on("GET /containers/json", slow)
    assert tls.call(routes.STATUS).status == 200
