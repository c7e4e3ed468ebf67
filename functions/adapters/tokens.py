"""Tokens verified against an issuer's published keys. The only import of PyJWT on the callers' side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from functions.adapters.settings import TokenSettings
from functions.domain.errors import Unauthorized, Unavailable

LEEWAY_SECONDS = 10
KEYS_SECONDS = 300
FETCH_SECONDS = 3


class TokenVerifier:
    """Holds the issuer's keys for five minutes; asks again sooner for a `kid` that it does not know."""

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._keys = jwt.PyJWKClient(settings.jwks_url, lifespan=KEYS_SECONDS, timeout=FETCH_SECONDS)

    def __call__(self, token: str) -> Mapping[str, Any]:
        """The verified claims. Raises Unauthorized; Unavailable where the keys cannot be fetched."""
        expected = self._settings
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
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
            raise Unauthorized(f"the token is not accepted: {error}") from None
        return claims
