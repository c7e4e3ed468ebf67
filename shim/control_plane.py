"""The control plane as the shim calls it: verified by the droplet's authorities, and shown the shim's own key."""

from __future__ import annotations

import ssl
import time
import uuid
from contextlib import closing
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization

from shim import certificate

# The droplet's, mounted into the shim's container: who verifies the functions today is for its updates to say.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
ALGORITHM = "ES256"
TOKEN_SECONDS = 60
MAX_ANSWER_BYTES = 65_536


class Unanswered(Exception):
    """A sentence on why there is no good answer."""


class ControlPlane:
    """`pem` is the file with the shim's certificate and key."""

    def __init__(self, toolbox_id: str, pem: Path, authorities: Path = AUTHORITIES) -> None:
        self._toolbox_id, self._pem, self._authorities = toolbox_id, pem, authorities

    def certificate(self) -> str:
        return certificate.parts(self._pem)[0]

    def token(self, audience: str) -> str:
        """Signed with the certificate's key; good for a minute."""
        now = int(time.time())
        claims = {"sub": self._toolbox_id, "aud": audience, "iat": now, "exp": now + TOKEN_SECONDS}
        key = serialization.load_pem_private_key(certificate.parts(self._pem)[1].encode(), None)
        return jwt.encode(claims | {"jti": str(uuid.uuid4())}, key, ALGORITHM)  # type: ignore[arg-type]

    def post(self, url: str, body: bytes, headers: dict[str, str], seconds: float) -> bytes:
        """What a 2xx answer said. No redirect is followed, no proxy asked. Raises Unanswered.

        `seconds`: for the connection, and again for each silence.
        """
        parts = urlsplit(url)
        # Made anew each time: it holds every authority there is, and is needed once in a long while.
        try:
            context = ssl.create_default_context(cafile=self._authorities)
            connection = HTTPSConnection(parts.netloc, timeout=seconds, context=context)
            with closing(connection):
                connection.request("POST", parts.path, body, {"Content-Type": "application/json", **headers})
                answer = connection.getresponse()
                said = answer.read(MAX_ANSWER_BYTES)
        except (OSError, HTTPException) as error:
            raise Unanswered(f"{parts.netloc} does not answer: {str(error) or type(error).__name__}") from error
        if not 200 <= answer.status < 300:
            raise Unanswered(f"{parts.netloc} answered {answer.status}: {said[:500].decode('utf-8', 'replace')}")
        return said
