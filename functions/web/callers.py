"""Who is calling: a bearer token's verified claims make a caller, or a refusal."""

from __future__ import annotations

from collections.abc import Callable

from flask import request

from functions.domain.account.caller import AdminClaim, Caller, Claims, caller_from_claims
from functions.domain.errors import Unauthorized
from functions.lifecycle.account.rates import AccountRates

# Verifies a token's signature, algorithm, issuer, audience and times. Raises Unauthorized, Unavailable.
Verify = Callable[[str], Claims]

MAX_TOKEN = 16_384


class Callers:
    """Tells who makes the request that is being served, as often as they may ask."""

    def __init__(self, verify: Verify, admin: AdminClaim, rates: AccountRates) -> None:
        self._verify, self._admin, self._rates = verify, admin, rates

    def __call__(self) -> Caller:
        """Raises Unauthorized, TooManyRequests, Unavailable."""
        caller = caller_from_claims(self._verify(bearer()), self._admin)
        self._rates.take(caller.account)
        return caller


def bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthorized("a bearer token is required")
    return token.strip()


def service(verify: Verify, email: str) -> None:
    """The platform's own caller (scheduler, Pub/Sub), by its identity token's verified address."""
    claims = verify(bearer())
    if claims.get("email") != email or claims.get("email_verified") is not True:
        raise Unauthorized("the token is not that of the configured service account")
