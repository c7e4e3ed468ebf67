"""A token issuer on loopback: a real key, a real JWKS document over HTTP, tokens of any shape."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from functions.adapters.settings import TokenSettings


class Issuer:
    """`fetches` counts the requests for its keys."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.fetches = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                content = issuer.jwks()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Silence: one line a request would drown the test's own output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.settings = TokenSettings(self.url, "toolboxes", f"{self.url}/jwks.json", "RS256")

    def jwks(self) -> bytes:
        key = RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**key, "kid": "key-1", "use": "sig", "alg": "RS256"}]}).encode()

    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def token(self, subject: str | None = None, **claims: Any) -> str:
        """A good token of one hour, but for what `claims` changes; a claim of None is left out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": "toolboxes", "sub": subject, "iat": now, "exp": now + 3600}
        content = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(content, self.key, algorithm="RS256", headers={"kid": "key-1"})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
