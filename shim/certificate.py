"""The shim's own key and certificate, made once on the droplet; the functions pin the fingerprint."""

from __future__ import annotations

import hashlib
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FILE = "shim.pem"
VALIDITY = timedelta(days=36_500)


def ensure(directory: Path, toolbox_id: str) -> Path:
    """The PEM file with certificate and key in `directory`, made where it is missing. Raises OSError.

    One file, so that a crash can never leave a key beside another's certificate.
    """
    path = directory / FILE
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        # Named for this process: of two that begin at once both write a whole file, and one of them stays.
        unfinished = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_made(toolbox_id, datetime.now(UTC)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    return path


def fingerprint(path: Path) -> str:
    """SHA-256 of the certificate in DER, lower-case hex."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(parts(path)[0])).hexdigest()


def parts(path: Path) -> tuple[str, str]:
    """The certificate, which anybody may see, and its private key, each in PEM."""
    certificate, footer, key = path.read_text().partition(ssl.PEM_FOOTER)
    return certificate + footer, key.lstrip()


def _made(toolbox_id: str, now: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, toolbox_id)])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        # Back a day, for a client whose clock is behind.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private
