"""Tokens verified against an issuer's published keys, or a secret shared with it. The only import of PyJWT here."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from functions.adapters.settings import TokenSettings
from functions.domain.errors import Unauthorized, Unavailable

LEEWAY_SECONDS = 10
FETCH_SECONDS = 3


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """How long an issuer's keys are held, in seconds.

    `fresh`: then it is asked again. `cooldown`: no oftener than this for a `kid` that it has not published, or after it
    has failed to answer. `stale`: so long its last keys are good while it does not; then nobody can be believed.
    """

    fresh: float = 300
    cooldown: float = 30
    stale: float = 3600


USUAL = KeyTimes()


class TokenVerifier:
    """Verifies by the pinned algorithm alone, whatever a token or a key set says of its own."""

    def __init__(self, settings: TokenSettings, times: KeyTimes = USUAL) -> None:
        self._settings = settings
        self._keys = _PublishedKeys(settings.jwks_url, times) if settings.jwks_url else None

    def __call__(self, token: str) -> Mapping[str, Any]:
        """The verified claims. Raises Unauthorized; Unavailable where the keys cannot be fetched."""
        expected = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(token),
                algorithms=[expected.algorithm],
                issuer=expected.issuer,
                audience=expected.audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise Unavailable("the token's issuer does not answer") from error
        except jwt.ExpiredSignatureError:
            raise Unauthorized("the token has expired") from None
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is not accepted: {error}"[:200]) from None
        return claims

    def _key(self, token: str) -> Any:
        if self._keys is None:
            return self._settings.secret
        published = self._keys.get_signing_key_from_jwt(token)
        # Next to its present keys an issuer may still publish older ones, of another kind.
        if published.algorithm_name != self._settings.algorithm:
            raise jwt.InvalidAlgorithmError("its key is of another algorithm")
        return published.key


class _PublishedKeys(jwt.PyJWKClient):
    """One thread asks for the keys, and the others wait for what it brings.

    PyJWT bounds the fetches for unknown `kid`s while the issuer answers; here they are bounded too when it does not.
    """

    def __init__(self, url: str, times: KeyTimes) -> None:
        super().__init__(url, lifespan=times.fresh, timeout=FETCH_SECONDS, cooldown_duration=times.cooldown)
        self._times = times
        self._last: Any = None
        self._fetched_at = self._failed_at = -math.inf

    def fetch_data(self) -> Any:
        """The key set; the one before where the issuer does not answer. Raises PyJWKClientConnectionError."""
        began = time.monotonic()
        if began - self._failed_at < self._times.cooldown:
            return self._stale(began)
        try:
            self._last = super().fetch_data()
        except (jwt.PyJWKClientError, jwt.PyJWKSetError, ValueError) as error:
            self._failed_at = time.monotonic()
            return self._stale(began, error)
        self._fetched_at = began
        return self._last

    def _stale(self, now: float, error: Exception | None = None) -> Any:
        if now - self._fetched_at >= self._times.stale:
            raise jwt.PyJWKClientConnectionError("the issuer's keys could not be fetched") from error
        return self._last
