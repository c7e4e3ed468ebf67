"""Shims' certificates: what one is, what its key has signed, and which one an address shows."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from functions.domain.errors import BadRequest, ToolboxUnreachable, Unauthorized
from shim.contract import names, routes

CONNECT_SECONDS = 5.0
# A clock that is this far off is still heard; a token that lives longer is not one of a shim's.
LEEWAY_SECONDS, LONGEST_LIFE_SECONDS = 10, 90
_CLAIMS = ("sub", "aud", "iat", "exp", "jti")


class ShimCertificates:
    """Implements lifecycle.ports.Certificates. `port` is where shims serve."""

    def __init__(self, port: int = routes.PORT) -> None:
        self._port = port

    def fingerprint(self, pem: str) -> str:
        return hashlib.sha256(_certificate(pem).public_bytes(Encoding.DER)).hexdigest()

    def verify(self, pem: str, token: str, audience: str, toolbox_id: str) -> None:
        key = _certificate(pem).public_key()
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise BadRequest("the certificate's key is none of P-256")
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                audience=audience,
                leeway=LEEWAY_SECONDS,
                options={"require": [*_CLAIMS]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is not accepted: {error}") from None
        if claims["sub"] != toolbox_id or claims["exp"] - time.time() > LONGEST_LIFE_SECONDS:
            raise Unauthorized("the token is not accepted: it is for another toolbox, or lives too long")

    def claimed(self, token: str) -> str:
        try:
            said = jwt.decode(token, options={"verify_signature": False}).get("sub")
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is not accepted: {error}") from None
        if not isinstance(said, str) or not names.UUID.fullmatch(said):
            raise Unauthorized("the token names no toolbox")
        return said

    def shown_at(self, address: str) -> str:
        context = ssl.create_default_context()
        # It is only about to be learned whose it is; that its key is there, the handshake proves.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection((address, self._port), timeout=CONNECT_SECONDS) as plain,
                context.wrap_socket(plain) as encrypted,
            ):
                shown = encrypted.getpeercert(binary_form=True)
        except OSError as error:
            raise ToolboxUnreachable(f"{address} does not answer: {error}") from error
        return hashlib.sha256(shown or b"").hexdigest()


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise BadRequest("the certificate is none in PEM") from None
