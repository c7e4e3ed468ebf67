"""The machine's own certificate authority, which signs the TLS certificates of servers that droplets call.

Only the droplet image trusts it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from infra.local import secret, world

DIRECTORY = world.STATE / "authority"
CERTIFICATE = DIRECTORY / "authority.crt"
VALIDITY = timedelta(days=3_650)


def ensure() -> Path:
    """The authority's own certificate (PEM), created on first use."""
    if not CERTIFICATE.exists():
        name = _name("Toolboxes, this machine's own authority")
        builder = _builder(name, name, _key("authority"))
        builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
        secret.write(CERTIFICATE, _pem(builder.sign(_key("authority"), hashes.SHA256())))
    return CERTIFICATE


def server(address: IPv4Address) -> tuple[Path, Path]:
    """The certificate and the key (PEM) of a server at this address, created on first use."""
    file = DIRECTORY / f"{address}.crt"
    if not file.exists():
        authority = x509.load_pem_x509_certificate(ensure().read_bytes())
        builder = _builder(_name(str(address)), authority.subject, _key(str(address)))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        secret.write(file, _pem(builder.sign(_key("authority"), hashes.SHA256())))
    return file, _key_file(str(address))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
    )


def _key(owner: str) -> ec.EllipticCurvePrivateKey:
    key = secret.private_key(_key_file(owner), lambda: ec.generate_private_key(ec.SECP256R1()))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _key_file(owner: str) -> Path:
    return DIRECTORY / f"{owner}.pem"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
