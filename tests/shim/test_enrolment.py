"""The shim sends its certificate, retries until it gets an answer, and uses the stored answer until then."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shim import identity
from shim.agent import ENROL_EVERY_SECONDS, LONGEST_PAUSE_SECONDS, STORED_KEYS_FILE, ControlPlane, Enrolment, NoAnswer
from shim.contract import errors, tokens
from shim.identity import Configuration
from tests.shim.control_plane import FakeControlPlane

FIRST, SECOND = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def named(*keys: Ed25519PrivateKey) -> dict[str, Any]:
    """An answer of the control plane that contains these keys."""
    public = [key.public_key() for key in keys]
    encoded = {tokens.kid(key): base64.urlsafe_b64encode(key.public_bytes_raw()).decode().rstrip("=") for key in public}
    return {"control_keys": encoded}


class Pauses:
    """The shim's pauses. Each lasts until the test ends it with over()."""

    def __init__(self) -> None:
        self.requested: Queue[float] = Queue()
        self.granted = threading.Semaphore(0)

    def __call__(self, seconds: float) -> None:
        self.requested.put(seconds)
        self.granted.acquire()

    def next(self) -> float:
        """The length in seconds of the pause in which the shim is now."""
        return self.requested.get(timeout=10)

    def over(self) -> None:
        self.granted.release()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def made(tmp_path: Path, toolbox_id: str, control_plane: FakeControlPlane, pauses: Pauses) -> Callable[[], Enrolment]:
    """Makes the enrolment of a shim that starts. Each call is another start of the same shim."""
    configuration = Configuration(
        toolbox_id,
        {tokens.kid(FIRST.public_key()): FIRST.public_key()},
        enrol_url=control_plane.url("enrol"),
        enrolment_token="once",
        droplet_id="123",
    )
    pem = identity.ensure_certificate(tmp_path / "state", toolbox_id)
    return lambda: Enrolment(
        configuration, ControlPlane(toolbox_id, pem, control_plane.authorities), tmp_path / "state", pauses
    )


class Trusting(tokens.Verifier):
    """Records the keys that the shim is to trust."""

    def __init__(self) -> None:
        super().__init__({}, "", 0, lambda: 0)
        self.trusted: Queue[set[str]] = Queue()

    def trust(self, keys: Any) -> None:
        super().trust(keys)
        self.trusted.put(set(keys))


def follow(enrolment: Enrolment) -> Trusting:
    verifier = Trusting()
    threading.Thread(target=enrolment.run, args=(verifier,), daemon=True).start()
    return verifier


def test_enrolment_sends_certificate_token_droplet_and_proof(
    made: Callable[[], Enrolment], control_plane: FakeControlPlane, toolbox_id: str
) -> None:
    control_plane.answers = [(200, named(SECOND))]
    assert follow(made()).trusted.get(timeout=10) == set(named(SECOND)["control_keys"])
    [(path, _, body)] = control_plane.requested
    requested = json.loads(body)
    proof = requested.pop("proof")
    shown = requested.pop("certificate")
    assert (path, requested) == ("/enrol", {"toolbox_id": toolbox_id, "droplet_id": "123", "token": "once"})
    assert "PRIVATE" not in body.decode()
    key: Any = x509.load_pem_x509_certificate(shown.encode()).public_key()
    claims = jwt.decode(proof, key, ["ES256"], audience="enrol")
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (toolbox_id, 60)
    assert claims["jti"]


def test_enrolment_is_retried_with_growing_pauses(
    made: Callable[[], Enrolment], control_plane: FakeControlPlane, pauses: Pauses
) -> None:
    control_plane.answers = [(503, None)]
    verifier = follow(made())
    for attempt in range(14):
        longest = min(2.0**attempt, LONGEST_PAUSE_SECONDS)
        assert longest / 2 <= pauses.next() <= longest
        if attempt == 13:
            control_plane.answers = [(200, named(FIRST))]
        pauses.over()
    assert verifier.trusted.get(timeout=10)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"null"),
        (200, {}),
        (200, {"control_keys": {}}),
        (200, {"control_keys": {"kid": "AAAA"}}),
        (200, b"[" * 60_000),
        (302, named(FIRST)),
        (403, {"message": "the token was used"}),
        (500, b"\xff"),
    ],
)
def test_wrong_answer_leaves_the_keys_unchanged(
    made: Callable[[], Enrolment], control_plane: FakeControlPlane, pauses: Pauses, answer: tuple[int, Any]
) -> None:
    control_plane.answers = [answer]
    verifier = follow(made())
    pauses.next()
    assert verifier.trusted.empty()
    assert set(made().keys()) == {tokens.kid(FIRST.public_key())}
    assert len(control_plane.requested) == 1


def test_last_answer_is_stored_for_the_next_start(
    made: Callable[[], Enrolment], control_plane: FakeControlPlane
) -> None:
    control_plane.answers = [(200, named(SECOND))]
    follow(made()).trusted.get(timeout=10)
    assert set(made().keys()) == set(named(SECOND)["control_keys"])


@pytest.mark.parametrize("text", ["", "null", "{", '{"kid": "AAAA"}', "{}", "\0"])
def test_damaged_stored_answer_is_ignored(made: Callable[[], Enrolment], tmp_path: Path, text: str) -> None:
    (tmp_path / "state" / STORED_KEYS_FILE).write_text(text)
    assert set(made().keys()) == {tokens.kid(FIRST.public_key())}


def test_unknown_key_triggers_one_enrolment_a_minute(
    made: Callable[[], Enrolment], control_plane: FakeControlPlane, pauses: Pauses
) -> None:
    control_plane.answers = [(200, named(FIRST)), (200, named(FIRST, SECOND))]
    verifier = follow(made())
    verifier.trusted.get(timeout=10)
    assert pauses.next() == ENROL_EVERY_SECONDS
    for _ in range(20):
        token = tokens.sign(SECOND, audience="", method="GET", target="/status", body=b"", now=0, expires=1, jti="1")
        with pytest.raises(errors.Unauthenticated):
            verifier.verify(f"Bearer {token}", "GET", "/status")
    with pytest.raises(Empty):
        verifier.trusted.get(timeout=0.2)
    pauses.over()
    assert verifier.trusted.get(timeout=10) == set(named(FIRST, SECOND)["control_keys"])
    assert len(control_plane.requested) == 2


def test_control_plane_with_an_untrusted_certificate_gets_nothing(
    control_plane: FakeControlPlane, tmp_path: Path, toolbox_id: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    untrusted = FakeControlPlane(other)
    pem = identity.ensure_certificate(tmp_path / "state", toolbox_id)
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        ControlPlane(toolbox_id, pem, control_plane.authorities).post(untrusted.url("enrol"), b"{}", {}, 5)
    assert not untrusted.requested
    untrusted.shutdown()
    untrusted.server_close()
