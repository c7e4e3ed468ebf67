"""The caller of a request, read from the verified claims of a token, and what the caller may see."""

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
    """Who makes a request.

    `account` owns what the caller creates; `subject` is recorded as the actor in events. They differ where somebody
    acts for an account, as the backend does. An `admin` sees what every account has, and creates for its own account.
    """

    account: str
    subject: str
    admin: bool = False

    def may_see(self, account: str) -> bool:
        """Whether the caller may see and change what `account` has."""
        return self.admin or account == self.account


@dataclass(frozen=True, slots=True)
class AdminClaim:
    """The claim that makes a caller an admin.

    `path` names a claim, or a claim within a claim (`app_metadata.role`). The claim must equal `value`, or
    be a list that contains it, or be true if `value` is "true".
    """

    path: str
    value: str

    def matches(self, claims: Claims) -> bool:
        """Whether a token with these claims is an admin's."""
        found: Any = claims
        for name in self.path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, bool):
            return found and self.value == "true"
        return self.value in found if isinstance(found, list) else bool(found == self.value)


def caller_from_claims(claims: Claims, admin: AdminClaim) -> Caller:
    """The caller that verified claims name: the account is the token's `sub`. Raises Unauthorized."""
    try:
        subject = valid_account(claims.get("sub"))
    except ValueError as error:
        raise Unauthorized(f"The token's `sub` is not an account: {error}.") from None
    return Caller(subject, subject, admin.matches(claims))


def valid_account(name: Any) -> str:
    """Return `name` if it can be an account's. Raises ValueError with a sentence."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_SUBJECT:
        raise ValueError(f"an account has 1 to {MAX_SUBJECT} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("an account contains no control characters, so that it can be logged")
    return name
