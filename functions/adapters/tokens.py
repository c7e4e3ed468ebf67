"""Verification of callers' tokens (JWT), with the keys that an issuer publishes or with a secret shared with it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from functions.adapters.settings import TokenSettings
from functions.domain.errors import Unauthorized, Unavailable

# The clock of the issuer or of this function may be off by this much.
LEEWAY_SECONDS = 10
FETCH_SECONDS = 3


@dataclass(frozen=True, slots=True)
class KeyTimes:
    """How long an issuer's published keys are cached, in seconds.

    fresh     they are used without asking the issuer
    cooldown  the least time between two requests to the issuer for an unknown key id, or after a failure: otherwise
              anybody could make the functions flood the issuer, with tokens that name random keys
    stale     the last keys are still used while the issuer does not answer; after that every token is refused
    """

    fresh: float = 300
    cooldown: float = 30
    stale: float = 3600


DEFAULT_TIMES = KeyTimes()


class TokenVerifier:
    """Verifies tokens with the one configured algorithm, whatever the token's header or the key set says."""

    def __init__(self, settings: TokenSettings, times: KeyTimes = DEFAULT_TIMES) -> None:
        self._settings = settings
        self._keys = _PublishedKeys(settings.jwks_url, times) if settings.jwks_url else None

    def __call__(self, token: str) -> Mapping[str, Any]:
        """Return the verified claims. Raises Unauthorized; Unavailable where the issuer's keys cannot be fetched."""
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
            raise Unavailable(f"The keys of {expected.issuer} cannot be fetched now. Try again.") from error
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired. Sign in again.") from None
        # PyJWT lets through what a forged token may hold: nesting deeper than the stack, and times that are not finite.
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise Unauthorized(f"The token is not valid: {error}"[:200]) from None
        return claims

    def _key(self, token: str) -> Any:
        if self._keys is None:
            return self._settings.secret
        published = self._keys.get_signing_key_from_jwt(token)
        # An issuer that changed its algorithm may still publish keys for the earlier one.
        if published.algorithm_name != self._settings.algorithm:
            raise jwt.InvalidAlgorithmError(f"its key is of another algorithm, {published.algorithm_name}")
        return published.key


class _PublishedKeys(jwt.PyJWKClient):
    """An issuer's key set (JWKS). One thread fetches it, and the others wait for the result.

    PyJWT bounds the fetches for unknown key ids only while the issuer answers. Here they are bounded after a failure
    too, and the last key set is used meanwhile, so that an outage of the issuer does not sign everybody out.
    """

    def __init__(self, url: str, times: KeyTimes) -> None:
        super().__init__(url, lifespan=times.fresh, timeout=FETCH_SECONDS, cooldown_duration=times.cooldown)
        self._times = times
        self._last: Any = None
        self._fetched_at = self._failed_at = -math.inf

    def fetch_data(self) -> Any:
        """Return the key set, or the last one where the issuer does not answer.

        Raises PyJWKClientConnectionError where there is none, or it is too old.
        """
        started_at = time.monotonic()
        if started_at - self._failed_at < self._times.cooldown:
            return self._last_keys(started_at)
        try:
            self._last = super().fetch_data()
        except (jwt.PyJWKClientError, jwt.PyJWKSetError, ValueError) as error:
            self._failed_at = time.monotonic()
            return self._last_keys(started_at, error)
        self._fetched_at = started_at
        return self._last

    def _last_keys(self, now: float, error: Exception | None = None) -> Any:
        if now - self._fetched_at >= self._times.stale:
            raise jwt.PyJWKClientConnectionError("the issuer's keys could not be fetched") from error
        return self._last
