"""Which account a token's claims identify, and what it may see."""

from typing import Any

import pytest

from functions.domain.account.model import AdminClaim, Caller, caller_from_claims
from functions.domain.errors import Unauthorized

ADMIN = AdminClaim("app_metadata.role", "admin")


def test_caller_sees_its_own_account_and_an_admin_every_account() -> None:
    own, admin = Caller("a", "a"), Caller("operator", "operator", admin=True)
    assert (own.may_see("a"), own.may_see("b"), own.may_see("")) == (True, False, False)
    assert admin.may_see("a") and admin.may_see("b")


@pytest.mark.parametrize("subject", ["../x", "a/b/c", "..", "é", "名前", "__x__", " ", "a" * 255, "🦀" * 255])
def test_account_is_the_subject_unchanged(subject: str) -> None:
    assert caller_from_claims({"sub": subject}, ADMIN) == Caller(subject, subject)


@pytest.mark.parametrize("subject", [None, 7, ["a"], {"a": 1}, "", "a" * 256, "a\n", "\0", "a\x7f", "\x85", "\ud800"])
def test_malformed_subject_is_unauthorized(subject: Any) -> None:
    with pytest.raises(Unauthorized):
        caller_from_claims({"sub": subject}, ADMIN)


@pytest.mark.parametrize(
    ("claim", "claims", "admin"),
    [
        (ADMIN, {"app_metadata": {"role": "admin"}}, True),
        (ADMIN, {"app_metadata": {"role": ["support", "admin"]}}, True),
        (AdminClaim("admin", "true"), {"admin": True}, True),
        (AdminClaim("admin", "true"), {"admin": False}, False),
        (AdminClaim("admin", "false"), {"admin": False}, False),
        (AdminClaim("admin", "1"), {"admin": 1}, False),
        (ADMIN, {}, False),
        (ADMIN, {"app_metadata": None}, False),
        (ADMIN, {"app_metadata": {"role": "administrator"}}, False),
        (ADMIN, {"app_metadata": {"role": {"admin": True}}}, False),
        (ADMIN, {"app_metadata": ["role"]}, False),
        (ADMIN, {"app_metadata.role": "admin"}, False),
        (ADMIN, {"role": "admin", "user_metadata": {"role": "admin"}}, False),
    ],
)
def test_admin_is_who_has_the_configured_claim(claim: AdminClaim, claims: dict[str, Any], admin: bool) -> None:
    assert caller_from_claims({"sub": "a", **claims}, claim).admin is admin
