"""Who is calling: the bearer token's verified claims, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import request

from functions.domain.errors import Unauthorized

Claims = Mapping[str, Any]
# Verifies a token's signature, algorithm, issuer, audience and times. Raises Unauthorized, Unavailable.
Verify = Callable[[str], Claims]

MAX_TOKEN = 16_384
MAX_SUBJECT = 255


def bearer() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
        raise Unauthorized("a bearer token is required")
    return token.strip()


def account(verify: Verify) -> str:
    """The caller's account: the token's `sub`."""
    subject = verify(bearer()).get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT:
        raise Unauthorized("the token names no account")
    return subject


def service(verify: Verify, email: str) -> None:
    """The platform's own caller (scheduler, Pub/Sub), by its identity token's verified address."""
    claims = verify(bearer())
    if claims.get("email") != email or claims.get("email_verified") is not True:
        raise Unauthorized("the token is not that of the configured service account")
