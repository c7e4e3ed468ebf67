"""A token issuer on loopback: real keys, a real JWKS document over HTTP, tokens of any shape."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from functions.adapters.settings import TokenSettings


class Issuer:
    """`fetches` counts the requests for its keys; `answers`, where it is set, replaces their answer."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.fetches = 0
        self.answers: tuple[int, bytes] | None = None
        self._keys: dict[str, Any] = {}
        self.rotate("key-1")
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                status, content = issuer.answers or (200, issuer.jwks())
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Silence: one line a request would drown the test's own output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.settings = TokenSettings(self.url, "toolboxes", algorithm, f"{self.url}/jwks.json")

    def rotate(self, kid: str) -> None:
        """Sign with a new key from now on; the previous ones stay published."""
        self.kid = kid
        self._keys[kid] = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if self.algorithm == "RS256"
            else ec.generate_private_key(ec.SECP256R1())
        )

    @property
    def key(self) -> Any:
        return self._keys[self.kid]

    def jwks(self) -> bytes:
        return json.dumps({"keys": [self._jwk(kid) for kid in self._keys]}).encode()

    def public_pem(self) -> bytes:
        public = self.key.public_key()
        content: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return content

    def token(self, subject: str | None = None, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Return a valid token of one hour, changed by `claims` and `headers`; a claim of None is left out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": "toolboxes", "sub": subject, "iat": now, "exp": now + 3600}
        return self.sign({name: value for name, value in {**usual, **claims}.items() if value is not None}, headers)

    def sign(self, claims: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
        return jwt.encode(claims, self.key, self.algorithm, headers={"kid": self.kid, **(headers or {})})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _jwk(self, kid: str) -> dict[str, Any]:
        public = self._keys[kid].public_key()
        kind = ECAlgorithm if isinstance(public, ec.EllipticCurvePublicKey) else RSAAlgorithm
        algorithm = "ES256" if kind is ECAlgorithm else "RS256"
        return {**kind.to_jwk(public, as_dict=True), "kid": kid, "use": "sig", "alg": algorithm}
