"""The configuration that cloud-init writes, and the key and certificate that the droplet makes."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shim import identity
from shim.contract import tokens
from shim.identity import Unconfigured, parse_configuration

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
def test_configuration_is_parsed(encoded: str) -> None:
    configuration = parse_configuration(json.dumps(GOOD | {"control_keys": {tokens.kid(PUBLIC): encoded}}))
    assert {name: getattr(configuration, name) for name in GOOD if name != "control_keys"} == {
        name: value for name, value in GOOD.items() if name != "control_keys"
    }
    assert {kid: key.public_bytes_raw() for kid, key in configuration.control_keys.items()} == {
        tokens.kid(PUBLIC): PUBLIC.public_bytes_raw()
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "not JSON"),
        ("[]", "must hold"),
        ("{}", "must hold"),
        (json.dumps(GOOD | {"control_key": "private"}), "nothing else"),
        (json.dumps(GOOD | {"toolbox_id": "x"}), "UUID"),
        (json.dumps(GOOD | {"toolbox_id": 1}), "toolbox_id must be a string"),
        (json.dumps(GOOD | {"control_keys": {}}), "at least one"),
        (json.dumps(GOOD | {"shim_repository": 1}), "shim_repository must be a string"),
        (json.dumps(GOOD | {"enrol_url": "http://functions.example/enrol"}), "enrol_url must be an https URL"),
        (json.dumps({name: value for name, value in GOOD.items() if name != "notify_url"}), "must hold"),
        (json.dumps(GOOD | {"control_keys": {"0" * 16: ENCODED}}), "kid of another key"),
        (json.dumps(GOOD | {"control_keys": {"a": "AAAA"}}), "not a raw Ed25519"),
        (json.dumps(GOOD | {"control_keys": {"a": 1}}), "not a raw Ed25519"),
        (json.dumps(GOOD | {"control_keys": {"a": ENCODED + "!"}}), "not a raw Ed25519"),
    ],
)
def test_wrong_configuration_is_refused_with_its_cause(text: str, named: str) -> None:
    with pytest.raises(Unconfigured, match=named):
        parse_configuration(text)


def test_certificate_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = identity.ensure_certificate(tmp_path / "state", ID)
    first = path.read_bytes()
    assert identity.ensure_certificate(tmp_path / "state", ID).read_bytes() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    made = x509.load_pem_x509_certificate(first)
    assert made.subject.rfc4514_string() == f"CN={ID}"
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days > 36_000
