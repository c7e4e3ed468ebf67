"""Certificates that shims make for themselves, and the tokens that a shim signs with its certificate's key.

A shim makes its key on the droplet and sends nothing but the certificate, so no private key ever crosses the network
and no certificate authority is needed: the functions pin the certificate's fingerprint.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import time

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from functions.domain.errors import BadRequest, ToolboxUnreachable, Unauthorized
from shim.contract import names, routes

CONNECT_SECONDS = 5.0
# A droplet's clock may be off by this much.
LEEWAY_SECONDS = 10
# A shim signs tokens for a minute. The limit keeps a token that leaked from being of use for long.
MAX_LIFETIME_SECONDS = 90
KEY_REQUIRED = "The certificate's key must be an elliptic curve key on P-256."
# PyJWT lets through what foreign JSON may hold: nesting deeper than the stack, and times that are not finite.
_INVALID = (jwt.PyJWTError, ValueError, OverflowError, RecursionError)
_REQUIRED_CLAIMS = ["sub", "aud", "iat", "exp", "jti"]


class ShimCertificates:
    """Implements lifecycle.dependencies.Certificates. `port` is the port that shims serve at."""

    def __init__(self, port: int = routes.PORT) -> None:
        self._port = port

    def fingerprint(self, pem: str) -> str:
        return hashlib.sha256(_parse(pem).public_bytes(Encoding.DER)).hexdigest()

    def verify(self, pem: str, token: str, audience: str, toolbox_id: str) -> None:
        try:
            key = _parse(pem).public_key()
        # A curve or an algorithm that the library does not know, or a key that is malformed.
        except (UnsupportedAlgorithm, ValueError):
            raise BadRequest(KEY_REQUIRED) from None
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise BadRequest(KEY_REQUIRED)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                audience=audience,
                leeway=LEEWAY_SECONDS,
                options={"require": _REQUIRED_CLAIMS},
            )
        except _INVALID as error:
            raise Unauthorized(f"The shim's token is not valid: {error}. Sign a new one.") from None
        if claims["sub"] != toolbox_id:
            raise Unauthorized("The shim's token is for another toolbox.")
        if claims["exp"] - time.time() > MAX_LIFETIME_SECONDS:
            raise Unauthorized(f"The shim's token is valid for more than {MAX_LIFETIME_SECONDS} s. Sign a shorter one.")

    def unverified_toolbox_id(self, token: str) -> str:
        try:
            subject = jwt.decode(token, options={"verify_signature": False}).get("sub")
        except _INVALID as error:
            raise Unauthorized(f"The shim's token is not a JWT: {error}.") from None
        if not isinstance(subject, str) or not names.UUID.fullmatch(subject):
            raise Unauthorized("The shim's token must name its toolbox's id in `sub`.")
        return subject

    def fingerprint_at(self, address: str) -> str:
        context = ssl.create_default_context()
        # Nobody vouches for the certificate: the caller compares it with the one that the shim sent. The TLS handshake
        # still proves that the server holds the certificate's key.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection((address, self._port), timeout=CONNECT_SECONDS) as plain,
                context.wrap_socket(plain) as encrypted,
            ):
                certificate = encrypted.getpeercert(binary_form=True)
        except OSError as error:
            raise ToolboxUnreachable(f"No shim answers at {address}, port {self._port}: {error}.") from error
        return hashlib.sha256(certificate or b"").hexdigest()


def _parse(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except (x509.InvalidVersion, ValueError):
        raise BadRequest("The certificate must be an X.509 certificate in PEM.") from None
