"""Who this shim is: the configuration that cloud-init wrote, and the key and certificate made on the droplet."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.x509.oid import NameOID

from shim.contract import names, tokens

CONFIGURATION_FILE = Path("/etc/toolboxes/shim.json")
# In a file of its own, since the number is not known when cloud-init's user-data is written.
DROPLET_ID_FILE = Path("/etc/toolboxes/droplet-id")
CERTIFICATE_FILE = "shim.pem"
# The functions pin the certificate's fingerprint, so that expiry protects nothing.
VALIDITY = timedelta(days=36_500)
_STRINGS = ("toolbox_id", "enrol_url", "notify_url", "enrolment_token", "shim_repository")

Keys = dict[str, Ed25519PublicKey]


class Unconfigured(Exception):
    """A sentence on what is wrong with the configuration."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """`shim_repository`: where images of shims that may replace this one come from, "" for nowhere.

    `control_keys` are the control plane's public keys when the droplet was created, by their kid. `enrolment_token` is
    good once. `droplet_id` is the cloud's number of this droplet.
    """

    toolbox_id: str
    control_keys: Keys
    shim_repository: str = ""
    enrol_url: str = ""
    notify_url: str = ""
    enrolment_token: str = ""
    droplet_id: str = ""


def parse_configuration(text: str) -> Configuration:
    """From the content of CONFIGURATION_FILE. Raises Unconfigured."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise Unconfigured(f"it is not JSON: {error}") from None
    if not isinstance(values, dict) or set(values) != {*_STRINGS, "control_keys"}:
        raise Unconfigured(f"it must hold control_keys, {', '.join(_STRINGS)}, and nothing else")
    if wrong := [name for name in _STRINGS if not isinstance(values[name], str)]:
        raise Unconfigured(f"{wrong[0]} must be a string")
    if not names.UUID.fullmatch(values["toolbox_id"]):
        raise Unconfigured("toolbox_id must be a UUID in lower case")
    for name in ("enrol_url", "notify_url"):
        if not values[name].startswith("https://"):
            raise Unconfigured(f"{name} must be an https URL")
    return Configuration(**values | {"control_keys": parse_keys(values["control_keys"])})


def load_configuration() -> Configuration:
    """This droplet's. Ends the process with a sentence where it is missing or wrong."""
    try:
        configuration = parse_configuration(CONFIGURATION_FILE.read_text())
        return replace(configuration, droplet_id=DROPLET_ID_FILE.read_text().strip())
    except (OSError, UnicodeDecodeError, Unconfigured) as error:
        sys.exit(f"The shim cannot start: {CONFIGURATION_FILE.parent}: {error}.")


def parse_keys(named: object) -> Keys:
    """From base64url raw Ed25519 public keys by their kid; at least one. Raises Unconfigured."""
    if not isinstance(named, dict) or not named:
        raise Unconfigured("control_keys must hold at least one key by its kid")
    return {kid: _parse_key(kid, encoded) for kid, encoded in named.items()}


def ensure_certificate(directory: Path, toolbox_id: str) -> Path:
    """The PEM file with certificate and key in `directory`, made where it is missing. Raises OSError.

    One file, so that a crash cannot leave a key beside the certificate of another key.
    """
    path = directory / CERTIFICATE_FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        # Named for this process: of two that start at once each writes a whole file, and one of them stays.
        unfinished = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_make_certificate(toolbox_id, datetime.now(UTC)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    return path


def fingerprint(path: Path) -> str:
    """SHA-256 of the certificate in DER, lower-case hex."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem_parts(path)[0])).hexdigest()


def pem_parts(path: Path) -> tuple[str, str]:
    """The certificate, which is public, and its private key, each in PEM."""
    certificate, footer, key = path.read_text().partition(ssl.PEM_FOOTER)
    return certificate + footer, key.lstrip()


def _parse_key(kid: str, encoded: object) -> Ed25519PublicKey:
    try:
        padded = str(encoded) + "=" * (-len(str(encoded)) % 4)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(padded, b"-_", validate=True))
    except ValueError as error:
        raise Unconfigured(f"control key {kid} is not a raw Ed25519 public key in base64url: {error}") from None
    if tokens.kid(key) != kid:
        raise Unconfigured(f"control key {kid} has the kid of another key: its own is {tokens.kid(key)}")
    return key


def _make_certificate(toolbox_id: str, now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, toolbox_id)])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        # A day back, for a client whose clock is behind.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
