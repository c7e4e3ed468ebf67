"""A control plane over real TLS, with its own certificate authority and with answers that a test sets."""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADDRESS = "127.0.0.1"


class FakeControlPlane(ThreadingHTTPServer):
    """Answers each request with the next of `answers` (status, body) and repeats the last; records all requests.

    `answered` is released after each answer.
    """

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        self.answers: list[tuple[int, Any]] = [(204, None)]
        self.requested: list[tuple[str, dict[str, str], bytes]] = []
        self.answered = threading.Semaphore(0)
        super().__init__((ADDRESS, 0), Handler)
        self.authorities = directory / "authorities.pem"
        self.authorities.write_bytes(certified(directory / "server.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"https://{ADDRESS}:{self.server_address[1]}/{path}"

    def answer(self) -> tuple[int, Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def handle_error(self, *_: Any) -> None:
        """Print nothing: the test of a client that does not trust this server checks the client's error."""


class Handler(BaseHTTPRequestHandler):
    server: FakeControlPlane

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requested.append((self.path, dict(self.headers), body))
        status, output = self.server.answer()
        encoded = b"" if output is None else output if isinstance(output, bytes) else json.dumps(output).encode()
        self.send_response(status)
        self.send_header("Location", self.server.url("elsewhere"))
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)
        self.server.answered.release()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def certified(path: Path) -> bytes:
    """Write a self-signed certificate for ADDRESS and its key to `path`; return the certificate as PEM."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control plane")])
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(ADDRESS))]), critical=False)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made + key.private_bytes(*form))
    return made
