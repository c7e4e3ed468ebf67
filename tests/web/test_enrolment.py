"""`enrol` and `notify`, as a shim calls them, with real certificates, keys and a TLS server that shows one."""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from flask.testing import FlaskClient

from functions.adapters.certificates import ShimCertificates
from functions.domain.errors import ToolboxUnreachable
from functions.web import enrolment
from shim import identity
from tests.fakes.fleet import FleetWorld
from tests.web.conftest import CONTROL_KEYS


class Shown(ShimCertificates):
    """All of it is real but the port: that of a test's own server."""

    def __init__(self) -> None:
        super().__init__()
        self.by_address: dict[str, str] = {}

    def fingerprint_at(self, address: str) -> str:
        if address not in self.by_address:
            raise ToolboxUnreachable(f"{address} does not answer")
        return self.by_address[address]


@dataclass
class Shim:
    """A shim's own key and certificate."""

    pem: Path
    toolbox_id: str

    @property
    def certificate(self) -> str:
        return identity.pem_parts(self.pem)[0]

    def token(self, audience: str, **claims: Any) -> str:
        key: Any = serialization.load_pem_private_key(identity.pem_parts(self.pem)[1].encode(), None)
        now = int(time.time())
        usual = {"sub": self.toolbox_id, "aud": audience, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
        content = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(content, key, "ES256")


@dataclass
class Scene:
    world: FleetWorld
    shim: Shim
    certificates: Shown
    enrol: FlaskClient
    notify: FlaskClient
    body: dict[str, Any]

    def ask(self, **changes: Any) -> Any:
        body = {name: value for name, value in {**self.body, **changes}.items() if value != "left out"}
        return self.enrol.post("/", json=body)

    def hint(self, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.notify.post("/", headers=headers).status_code


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A toolbox whose droplet has booted."""
    world, certificates = FleetWorld(), Shown()
    toolbox = world.provision()
    world.deliver()
    [(droplet_id, droplet)] = world.digitalocean.droplets.items()
    shim = Shim(identity.ensure_certificate(tmp_path, toolbox.id), toolbox.id)
    certificates.by_address[droplet.address or ""] = identity.fingerprint(shim.pem)
    body = {
        "toolbox_id": toolbox.id, "droplet_id": droplet_id, "certificate": shim.certificate,
        "token": world.digitalocean.create_requests[droplet_id].token, "proof": shim.token("enrol"),
    }  # fmt: skip
    enrol = enrolment.build_enrol(world.deps, certificates, CONTROL_KEYS).test_client()
    notify = enrolment.build_notify(world.deps, certificates).test_client()
    return Scene(world, shim, certificates, enrol, notify, body)


def other_shim(scene: Scene, tmp_path: Path) -> Shim:
    return Shim(identity.ensure_certificate(tmp_path / "other", scene.shim.toolbox_id), scene.shim.toolbox_id)


def test_a_shim_enrols_and_is_told_the_present_keys_now_and_later_without_a_token(scene: Scene) -> None:
    answer = scene.ask()
    assert (answer.status_code, answer.json) == (200, {"control_keys": CONTROL_KEYS})
    again = scene.ask(token=None, proof=scene.shim.token("enrol"))
    assert (again.status_code, again.json) == (200, {"control_keys": CONTROL_KEYS})
    assert scene.ask(token="left out", proof=scene.shim.token("enrol")).status_code == 200


def test_another_certificate_is_refused_with_the_token_and_without(scene: Scene, tmp_path: Path) -> None:
    other = other_shim(scene, tmp_path)
    theirs = {"certificate": other.certificate, "proof": other.token("enrol")}
    assert scene.ask(**theirs).status_code == 403
    assert scene.ask().status_code == 200
    assert scene.ask(**theirs).status_code == 403
    assert scene.ask(**theirs, token=None).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "22222222-2222-4222-8222-222222222222"},
        {"aud": "notify"},
        {"exp": 1},
        {"exp": 9_000_000_000},
        {"exp": None},
        {"jti": None},
    ],
    ids=str,
)
def test_a_proof_that_is_none(scene: Scene, claims: dict[str, Any]) -> None:
    assert scene.ask(proof=scene.shim.token("enrol", **claims)).status_code == 401


def test_a_proof_by_another_key(scene: Scene, tmp_path: Path) -> None:
    assert scene.ask(proof=other_shim(scene, tmp_path).token("enrol")).status_code == 401
    unsigned = jwt.encode({"sub": scene.shim.toolbox_id, "aud": "enrol", "exp": time.time() + 60}, "", "none")
    assert scene.ask(proof=unsigned).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"certificate": "none"},
        {"certificate": "x" * 9000},
        {"toolbox_id": "../x"},
        {"droplet_id": "1 or 2"},
        {"droplet_id": 5},
        {"more": 1},
        {"proof": "left out"},
    ],
    ids=str,
)
def test_a_body_that_is_not_one(scene: Scene, wrong: dict[str, Any]) -> None:
    assert scene.ask(**wrong).status_code == 400


@pytest.mark.parametrize(
    "key",
    [
        ["ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"],
        ["ec", "-pkeyopt", "ec_paramgen_curve:secp112r1"],
        ["ec", "-pkeyopt", "ec_paramgen_curve:prime192v2"],
        ["ec", "-pkeyopt", "ec_paramgen_curve:sect163k1"],
        ["ed448"],
        ["rsa-pss", "-pkeyopt", "rsa_keygen_bits:1024"],
    ],
    ids=lambda key: "-".join(key[::2]),
)
def test_a_certificate_with_another_kind_of_key_returns_400(scene: Scene, tmp_path: Path, key: list[str]) -> None:
    pem, command = tmp_path / "other.pem", ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=x", "-newkey", *key]
    subprocess.run([*command, "-keyout", tmp_path / "key", "-out", pem], check=True, capture_output=True)
    assert scene.ask(certificate=pem.read_text()).status_code == 400


@pytest.mark.parametrize("claims", [{"exp": float("inf")}, {"iat": float("inf")}, {"iat": float("nan")}], ids=str)
def test_a_proof_with_numbers_that_are_no_times_returns_401(scene: Scene, claims: dict[str, Any]) -> None:
    assert scene.ask(proof=scene.shim.token("enrol", **claims)).status_code == 401


@pytest.mark.parametrize("text", ["[" * 2_500, '{"alg":"ES256","kid":' + "[" * 2_000, "1" * 2_900])
def test_a_proof_of_deep_or_long_json_returns_401(scene: Scene, text: str) -> None:
    part = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    header = scene.body["proof"].partition(".")[0]
    for proof in (f"{part}.e30.x", f"{header}.{part}.x"):
        assert scene.ask(proof=proof[:4096]).status_code == 401
        assert scene.hint(proof) == 401


def test_an_unreachable_droplet_is_told_to_come_again(scene: Scene) -> None:
    scene.certificates.by_address.clear()
    assert scene.ask().status_code == 503
    assert scene.ask().json["type"].endswith("toolbox-unreachable")


def test_who_tries_too_often_is_held_off(scene: Scene) -> None:
    statuses = [scene.ask(token="guessed").status_code for _ in range(31)]
    assert statuses == [403] * 30 + [429]


def test_a_hint_is_believed_to_come_from_the_enrolled_shim_alone(scene: Scene, tmp_path: Path) -> None:
    assert scene.hint(scene.shim.token("notify")) == 401, "before it has enrolled"
    scene.ask()
    scene.world.queue.tasks.clear()
    for token in (None, "x", other_shim(scene, tmp_path).token("notify"), scene.shim.token("enrol")):
        assert scene.hint(token) == 401
    assert scene.hint(scene.shim.token("notify", exp=1)) == 401
    assert scene.hint(scene.shim.token("notify", sub="nobody")) == 401
    assert scene.world.queue.tasks == []
    token = scene.shim.token("notify")
    assert [scene.hint(token), scene.hint(token)] == [204, 204]
    assert {(task.kind, task.id) for task in scene.world.queue.tasks} == {("toolbox", scene.shim.toolbox_id)}


def test_a_flood_of_hints_is_bounded(scene: Scene) -> None:
    scene.ask()
    statuses = [scene.hint(scene.shim.token("notify")) for _ in range(8)]
    assert statuses == [204] * 5 + [429] * 3


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A server that shows a shim's certificate: its port, and the fingerprint."""
    pem = identity.ensure_certificate(tmp_path / "tls", "11111111-1111-4111-8111-111111111111")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port, identity.fingerprint(pem)
    server.shutdown()
    server.server_close()


def test_the_certificate_that_an_address_shows_is_the_one_that_its_server_has(tls_server: tuple[int, str]) -> None:
    port, fingerprint = tls_server
    assert ShimCertificates(port).fingerprint_at("127.0.0.1") == fingerprint


def test_where_nothing_answers_nothing_is_shown() -> None:
    with pytest.raises(ToolboxUnreachable):
        ShimCertificates(9).fingerprint_at("127.0.0.1")
