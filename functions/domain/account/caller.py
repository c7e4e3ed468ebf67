"""Who is asking, and whose things that opens. Read from a token's verified claims."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from functions.domain.errors import Unauthorized

MAX_SUBJECT = 255

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """`account` is whose things these are; `subject` is who acts, and stands in the events as their actor.

    They differ where somebody acts on an account's behalf. `admin` opens every account's things; what an admin makes
    anew is its own account's.
    """

    account: str
    subject: str
    admin: bool = False

    def may_see(self, account: str) -> bool:
        return self.admin or account == self.account


@dataclass(frozen=True, slots=True)
class AdminClaim:
    """What an admin's token holds: `value` at `path` (`app_metadata.role`: a claim within a claim).

    The claim is that text, or a list with it, or true where `value` is "true".
    """

    path: str
    value: str

    def stands_in(self, claims: Claims) -> bool:
        found: Any = claims
        for name in self.path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, bool):
            return found and self.value == "true"
        return self.value in found if isinstance(found, list) else bool(found == self.value)


def caller_from_claims(claims: Claims, admin: AdminClaim) -> Caller:
    """The account is the token's `sub`, whatever characters it is made of that a log line can show."""
    try:
        subject = valid_account(claims.get("sub"))
    except ValueError as error:
        raise Unauthorized(f"the token names no account: {error}") from None
    return Caller(subject, subject, admin.stands_in(claims))


def valid_account(name: Any) -> str:
    """Raises ValueError with a sentence."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_SUBJECT:
        raise ValueError(f"an account has 1 to {MAX_SUBJECT} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("an account has no control character")
    return name
