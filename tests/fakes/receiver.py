"""A receiver of webhooks on loopback, over real TLS with a self-signed certificate."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from functions.adapters.webhooks import WebhookSender

SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_TGFMYXN3TWZLUTlyOEdLWXFyVHdqVVBEOElMUFpJbzI=")
CERTIFICATE = "receiver.pem"

Allowed = Callable[[str], bool]


def anywhere(address: str) -> bool:
    return True


class Receiver:
    """Records what it receives; `answer` answers a request, and may close the connection instead."""

    def __init__(self, folder: Path) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda request: status(request, 204)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Silence: one line a request would drown the test's own output."""

        self.certificate = folder / CERTIFICATE
        self.certificate.write_bytes(_made())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self._server.server_port

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]

    def sender(self, host: str = "localhost", allowed: Allowed = anywhere, within: float = 5) -> WebhookSender:
        return sender_to(self.certificate, self.port, host, allowed, within)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def sender_to(
    certificate: Path, port: int, host: str = "localhost", allowed: Allowed = anywhere, within: float = 5
) -> WebhookSender:
    """Return a sender that trusts only that certificate."""
    context = ssl.create_default_context(cafile=str(certificate))
    return WebhookSender(f"https://{host}:{port}/hooks?from=toolboxes", SECRETS, context, allowed, within)


def status(request: BaseHTTPRequestHandler, code: int, **headers: str) -> None:
    request.send_response(code)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", "0")
    request.end_headers()


def dies(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 20")
    request.connection.close()


def drips(request: BaseHTTPRequestHandler) -> None:
    """Send a byte every 0.1 s, so that no single read times out."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    with suppress(OSError):
        for _ in range(100):
            time.sleep(0.1)
            request.wfile.write(b"x")


def _made() -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form)
