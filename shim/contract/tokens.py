"""Commands are signed with the control plane's private key and verified with its public keys: JWT, EdDSA, no other.

Why signed commands and not client certificates (mTLS): a token binds one command (method, target, body, start-by time)
and not a connection, so that it also fences; rotating a key needs no certificate authority; and the shim holds nothing
but public keys. The form of the token is the same in all versions of the contract.

Both sides use this module. It does no input or output.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import math
import threading
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shim.contract import errors, routes

ALGORITHM = "EdDSA"
ISSUER = "toolboxes-control"
MAX_SKEW_SECONDS = 5.0
MAX_LIFE_SECONDS = 60.0
MAX_REMEMBERED = 100_000
MAX_TOKEN_CHARACTERS = 12_288
_STRINGS, _NUMBERS = ("jti", "htm", "htu", "body"), ("iat", "exp")
_URLSAFE = str.maketrans("-_", "+/")


def audience(toolbox_id: str, fingerprint: str) -> str:
    """Whom a token is for. `fingerprint`: SHA-256 of the shim's certificate in DER, lower-case hex."""
    return f"{toolbox_id}/{fingerprint}"


def kid(public_key: Ed25519PublicKey) -> str:
    """A key's name in tokens: the first 16 hex digits of the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(public_key.public_bytes_raw()).hexdigest()[:16]


def sign(  # noqa: PLR0913  each is one claim
    private_key: Ed25519PrivateKey,
    *,
    audience: str,
    method: str,
    target: str,
    body: bytes,
    now: float,
    expires: float,
    jti: str,
    contract: int = routes.CONTRACT,
) -> str:
    """The token of one command. `target` is path and query exactly as sent; times are seconds since 1970."""
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "iat": now,
        "exp": expires,
        "jti": jti,
        "contract": contract,
        "htm": method,
        "htu": target,
        "body": hashlib.sha256(body).hexdigest(),
    }
    return jwt.encode(claims, private_key, ALGORITHM, headers={"kid": kid(private_key.public_key())})


@dataclass(frozen=True, slots=True)
class Claims:
    """A token whose head is verified. `expires` is a start-by time, in seconds since 1970."""

    jti: str
    expires: float
    contract: int
    body_sha256: str = ""

    def must_not_be_expired(self, now: float) -> None:
        """Raises TokenStale."""
        if now >= self.expires:
            raise errors.TokenStale(f"The command had to start by {_format(self.expires)}, and it is {_format(now)}.")


class Verifier:
    """Verifies tokens. Safe to share between threads."""

    def __init__(
        self,
        keys: Mapping[str, Ed25519PublicKey],
        audience: str,
        started_at: float,
        clock: Callable[[], float],
    ) -> None:
        self._keys, self._audience, self._started_at, self._clock = dict(keys), audience, started_at, clock
        # Used tokens by the second in which they expire: a replayed token expires in the same second. Of each the hash
        # of its id, in eight bytes; a new token with an old one's hash is refused as stale, and the caller signs again.
        self._used: dict[int, array[int]] = {}
        self._lock = threading.Lock()
        # Set when a token names a key that is not among these: the enrolment then fetches the present keys.
        self.unknown_key = threading.Event()

    def trust(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        """Replace the keys."""
        self._keys = dict(keys)

    def verify(self, authorization: str, method: str, target: str) -> Claims:
        """Check all of a request that is known before its body is read. `authorization` is the header's value.

        Raises Unauthenticated, ClockSkew, TokenStale.
        """
        claims = self._signed_claims(authorization)
        # Before every check that depends on this clock, so that a wrong clock is reported as such.
        now = self._clock()
        if abs(now - claims["iat"]) > MAX_SKEW_SECONDS:
            raise errors.ClockSkew(f"The token was issued at {_format(claims['iat'])}, and it is {_format(now)} here.")
        if claims["exp"] - claims["iat"] > MAX_LIFE_SECONDS:
            raise errors.Unauthenticated(f"The token is valid for longer than {MAX_LIFE_SECONDS:.0f} seconds.")
        for claim, value in (("htm", method), ("htu", target)):
            if claims[claim] != value:
                raise errors.Unauthenticated(f"The token was signed for another request: {claim} differs.")
        if claims["iat"] < self._started_at:
            raise errors.TokenStale("The token was issued before this shim started.")
        verified = Claims(claims["jti"], claims["exp"], claims["contract"], claims["body"])
        verified.must_not_be_expired(now)
        return verified

    def accept(self, claims: Claims, body: bytes) -> None:
        """Check the body, and mark the token as used. Raises Unauthenticated, TokenStale, Transient."""
        if not hmac.compare_digest(claims.body_sha256, hashlib.sha256(body).hexdigest()):
            raise errors.Unauthenticated("The token was signed for another request: body differs.")
        now = int(self._clock())
        with self._lock:
            for second in [second for second in self._used if second < now]:
                del self._used[second]
            if sum(map(len, self._used.values())) >= MAX_REMEMBERED:
                raise errors.Transient("Too many commands within a minute. Try again later.")
            used = self._used.setdefault(int(claims.expires), array("q"))
            if hash(claims.jti) in used:
                raise errors.TokenStale("The token was used before.")
            used.append(hash(claims.jti))

    def _signed_claims(self, authorization: str) -> dict[str, Any]:
        """The claims, once signature, issuer and audience are proven and each claim is of its type."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or not token:
            raise errors.Unauthenticated("A command needs the header `Authorization: Bearer TOKEN`.")
        try:
            claims: dict[str, Any] = self._verified_payload(token)
        except (InvalidSignature, ValueError, TypeError, KeyError, RecursionError) as error:
            raise errors.Unauthenticated(f"The token is not valid: {str(error) or 'wrong signature'}.") from None
        for claim, value in (("iss", ISSUER), ("aud", self._audience)):
            if not isinstance(claims, dict) or claims.get(claim) != value:
                raise errors.Unauthenticated(f"The token is not for this shim: {claim} differs.")
        typed = (
            all(type(claims.get(name)) is str and len(claims[name]) <= 8192 for name in _STRINGS)
            and all(type(claims.get(name)) in (int, float) and math.isfinite(claims[name]) for name in _NUMBERS)
            and type(claims.get("contract")) is int
        )
        if not typed or not 0 < len(claims["jti"]) <= 64 or not claims["body"].isascii():
            raise errors.Unauthenticated("A claim is missing or of the wrong type.")
        return claims

    def _verified_payload(self, token: str) -> Any:
        # By hand rather than by PyJWT, which takes 60 microseconds more for each command than the signature itself
        # (95) and offers algorithms that must never be accepted here.
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise ValueError(f"it is longer than {MAX_TOKEN_CHARACTERS} characters")
        head, payload, signature = token.split(".")
        header = json.loads(_decode(head))
        if header["alg"] != ALGORITHM or "crit" in header:
            raise ValueError("its algorithm is not EdDSA")
        key = self._keys.get(header["kid"])
        if key is None:
            self.unknown_key.set()
            raise ValueError("its kid names no key of this shim")
        key.verify(_decode(signature), f"{head}.{payload}".encode("ascii"))
        return json.loads(_decode(payload))


def _decode(segment: str) -> bytes:
    """base64url without padding. Raises ValueError."""
    padded = segment.translate(_URLSAFE) + "=" * (-len(segment) % 4)
    return binascii.a2b_base64(padded.encode("ascii"), strict_mode=True)


def _format(seconds: float) -> str:
    """A time in RFC 3339, or the seconds where no calendar date exists."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} seconds"
