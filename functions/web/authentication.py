"""Who is calling: a bearer token's verified claims make a caller, or the request is refused."""

from __future__ import annotations

from collections.abc import Callable

from flask import request

from functions.domain.account.caller import AdminClaim, Caller, Claims, caller_from_claims
from functions.domain.errors import Unauthorized
from functions.lifecycle.account.rates import AccountRates

# Verifies a token's signature, algorithm, issuer, audience and times. Raises Unauthorized, Unavailable.
Verify = Callable[[str], Claims]

MAX_TOKEN_CHARACTERS = 16_384


class Callers:
    """Authenticates the caller of the request that is being served and counts it against the account's rate limit."""

    def __init__(self, verify: Verify, admin: AdminClaim, rates: AccountRates) -> None:
        self._verify, self._admin, self._rates = verify, admin, rates

    def __call__(self) -> Caller:
        """Authenticate the caller. Raises Unauthorized, TooManyRequests, Unavailable."""
        caller = caller_from_claims(self._verify(bearer_token()), self._admin)
        self._rates.take(caller.account)
        return caller


def bearer_token() -> str:
    """The token in the Authorization header. Raises Unauthorized."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARACTERS:
        raise Unauthorized("A bearer token is required. Send the header `Authorization: Bearer <token>`.")
    return token.strip()


def require_service(verify: Verify, email: str) -> None:
    """The platform's own caller (scheduler, Pub/Sub) by its identity token's verified address. Raises Unauthorized."""
    claims = verify(bearer_token())
    if claims.get("email") != email or claims.get("email_verified") is not True:
        raise Unauthorized(f"The token is not an identity token of {email}, the configured service account.")
