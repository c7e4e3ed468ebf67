"""Commands signed by the control plane's private key and verified by its public keys: JWT, EdDSA, nothing else.

The token's form is the same in all contract versions. Both sides use this module; it does no input or output.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.utils import base64url_decode

from shim.contract import errors, routes

ALGORITHM = "EdDSA"
ISSUER = "toolboxes-control"
MAX_SKEW_SECONDS = 5.0
MAX_LIFE_SECONDS = 60.0
MAX_REMEMBERED = 100_000
_STRINGS, _NUMBERS = ("jti", "htm", "htu", "body"), ("iat", "exp")
_SIGNED = jwt.PyJWS()


def audience(toolbox_id: str, fingerprint: str) -> str:
    """Whom a token is for. `fingerprint`: SHA-256 of the shim's certificate in DER, lower-case hex."""
    return f"{toolbox_id}/{fingerprint}"


def kid(public_key: Ed25519PublicKey) -> str:
    """A key's name in tokens: the first 16 hex digits of the SHA-256 of its 32 raw bytes."""
    return hashlib.sha256(public_key.public_bytes_raw()).hexdigest()[:16]


def sign(
    private_key: Ed25519PrivateKey,
    *,
    audience: str,
    method: str,
    target: str,
    body: bytes,
    now: float,
    expires: float,
    jti: str,
) -> str:
    """The token of one command. `target` is path and query exactly as sent; times are seconds since 1970."""
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "iat": now,
        "exp": expires,
        "jti": jti,
        "contract": routes.CONTRACT,
        "htm": method,
        "htu": target,
        "body": hashlib.sha256(body).hexdigest(),
    }
    return jwt.encode(claims, private_key, ALGORITHM, headers={"kid": kid(private_key.public_key())})


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified token. `expires` is a start-by time, in seconds since 1970."""

    jti: str
    expires: float
    contract: int

    def must_not_be_expired(self, now: float) -> None:
        """Raises TokenStale."""
        if now >= self.expires:
            raise errors.TokenStale(f"the command had to start by {_text(self.expires)}, and it is {_text(now)}")


class Verifier:
    """Judges tokens. Safe to share between threads."""

    def __init__(
        self,
        keys: Mapping[str, Ed25519PublicKey],
        audience: str,
        started_at: float,
        clock: Callable[[], float],
    ) -> None:
        self._keys, self._audience, self._started_at, self._clock = dict(keys), audience, started_at, clock
        # Used tokens by the second in which they expire, since one that comes again expires when it did. Of each the
        # hash of its id, in eight bytes: a new one that has an old one's hash is refused as stale, and signed anew.
        self._used: dict[int, array[int]] = {}
        self._lock = threading.Lock()
        # Set where a token names a key that is not among these: whoever gets the control plane's keys waits for it.
        self.unknown_key = threading.Event()

    def trust(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        """From now on these, and no others."""
        self._keys = dict(keys)

    def verify(self, authorization: str, method: str, target: str, body: bytes) -> Claims:
        """Judge the header `Authorization` of one request.

        Raises Unauthenticated, ClockSkew, TokenStale, or Transient where too many commands are under way.
        """
        claims = self._signed(authorization)
        # Before all that depends on this clock: a droplet whose clock is wrong is to be told just that.
        now = self._clock()
        if abs(now - claims["iat"]) > MAX_SKEW_SECONDS:
            raise errors.ClockSkew(f"the token was issued at {_text(claims['iat'])}, and it is {_text(now)} here")
        if claims["exp"] - claims["iat"] > MAX_LIFE_SECONDS:
            raise errors.Unauthenticated(f"the token lives longer than {MAX_LIFE_SECONDS:.0f} seconds")
        sent = {"htm": method, "htu": target, "body": hashlib.sha256(body).hexdigest()}
        for claim, value in sent.items():
            if claims[claim] != value:
                raise errors.Unauthenticated(f"the token was signed for another request: {claim} differs")
        if claims["iat"] < self._started_at:
            raise errors.TokenStale("the token was issued before this shim started")
        verified = Claims(claims["jti"], claims["exp"], claims["contract"])
        verified.must_not_be_expired(now)
        self._use_once(verified, now)
        return verified

    def _signed(self, authorization: str) -> dict[str, Any]:
        """The claims, once signature, issuer and audience are proven and each claim is of its type."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer" or not token:
            raise errors.Unauthenticated("a command needs the header Authorization: Bearer TOKEN")
        try:
            # Only its kid, since whoever verifies takes the whole apart: twice costs as much as the signature itself.
            key = self._keys.get(json.loads(base64url_decode(token.partition(".")[0]))["kid"])
            if key is None:
                self.unknown_key.set()
                raise errors.Unauthenticated("the token's kid names no key of this shim")
            claims: dict[str, Any] = json.loads(_SIGNED.decode(token, key, [ALGORITHM]))
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise errors.Unauthenticated(f"the token is not valid: {error}") from None
        for claim, value in (("iss", ISSUER), ("aud", self._audience)):
            if not isinstance(claims, dict) or claims.get(claim) != value:
                raise errors.Unauthenticated(f"the token is not meant for this shim: {claim} differs")
        typed = (
            all(type(claims.get(name)) is str and len(claims[name]) <= 4096 for name in _STRINGS)
            and all(type(claims.get(name)) in (int, float) and math.isfinite(claims[name]) for name in _NUMBERS)
            and type(claims.get("contract")) is int
        )
        if not typed or not 0 < len(claims["jti"]) <= 64:
            raise errors.Unauthenticated("a claim is missing or of the wrong type")
        return claims

    def _use_once(self, claims: Claims, now: float) -> None:
        with self._lock:
            for second in [second for second in self._used if second < int(now)]:
                del self._used[second]
            if sum(map(len, self._used.values())) >= MAX_REMEMBERED:
                raise errors.Transient("too many commands within a minute")
            used = self._used.setdefault(int(claims.expires), array("q"))
            if hash(claims.jti) in used:
                raise errors.TokenStale("the token was used before")
            used.append(hash(claims.jti))


def _text(seconds: float) -> str:
    """A time in RFC 3339, or the bare seconds where no calendar reaches."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        return f"{seconds} seconds"
