"""A token is refused for each thing that can be wrong with it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shim.contract import errors, routes, tokens

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NOW = 1_800_000_000.5
AUDIENCE = tokens.audience("toolbox", "ab" * 32)
REQUEST: dict[str, Any] = {"method": "POST", "target": "/tools?x=1", "body": b"{}"}


def keys(*private: Ed25519PrivateKey) -> dict[str, Any]:
    return {tokens.kid(key.public_key()): key.public_key() for key in private}


def verifier(now: float = NOW, started_at: float = NOW - 1000, *private: Ed25519PrivateKey) -> tokens.Verifier:
    return tokens.Verifier(keys(*(private or (KEY,))), AUDIENCE, started_at, lambda: now)


def token(**changed: Any) -> str:
    requested = {"private_key": KEY, "audience": AUDIENCE, "now": NOW, "expires": NOW + 50, "jti": "j", **REQUEST}
    return tokens.sign(**(requested | changed))


def forged(change: Callable[[dict[str, Any]], Any], key: Any = KEY, algorithm: str = "EdDSA", **header: Any) -> str:
    """A token with claims that `sign` never makes, signed with the right key."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    change(claims)
    return jwt.encode(claims, key, algorithm, headers={"kid": tokens.kid(KEY.public_key())} | header)


def judge(text: str, judged_by: tokens.Verifier | None = None, **changed: Any) -> tokens.Claims:
    request = REQUEST | changed
    by = judged_by or verifier()
    claims = by.verify(f"Bearer {text}", request["method"], request["target"])
    by.accept(claims, request["body"])
    return claims


def test_good_token_gives_its_claims() -> None:
    body_sha256 = hashlib.sha256(REQUEST["body"]).hexdigest()
    assert judge(token()) == tokens.Claims("j", NOW + 50, routes.CONTRACT, body_sha256)


@pytest.mark.parametrize(
    "header", ["", "Bearer ", "Bearer", "Basic abc", "bearer " + token(), "Bearer a.b.c", "Bearer é"]
)
def test_header_without_bearer_token_is_refused(header: str) -> None:
    with pytest.raises(errors.Unauthenticated):
        verifier().verify(header, "POST", "/tools?x=1")


def hs256_with_the_public_key(public: bytes) -> str:
    """An HS256 token whose secret is the public key. It is built by hand, since a JWT library refuses to make one."""
    segments = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in (
            {"alg": "HS256", "typ": "JWT", "kid": tokens.kid(KEY.public_key())},
            jwt.decode(token(), options={"verify_signature": False}),
        )
    ]
    mac = hmac.digest(public, b".".join(segments), hashlib.sha256)
    return b".".join([*segments, base64.urlsafe_b64encode(mac).rstrip(b"=")]).decode()


@pytest.mark.parametrize(
    "bad",
    [
        forged(lambda claims: None, None, "none"),
        hs256_with_the_public_key(KEY.public_key().public_bytes_raw()),
        hs256_with_the_public_key(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
        forged(lambda claims: None, OTHER),
        forged(lambda claims: None, kid="0" * 16),
        token(private_key=OTHER),
        token(audience=tokens.audience("another", "ab" * 32)),
        token(audience=tokens.audience("toolbox", "cd" * 32)),
        token(expires=NOW + 61),
        forged(lambda claims: claims.update(aud=[AUDIENCE, "another"])),
        forged(lambda claims: claims.update(iss="another")),
        forged(lambda claims: claims.update(iat=float("nan"))),
        forged(lambda claims: claims.update(exp=float("inf"))),
        forged(lambda claims: claims.update(iat=True)),
        forged(lambda claims: claims.update(contract="1")),
        forged(lambda claims: claims.update(jti="")),
        forged(lambda claims: claims.update(jti="j" * 65)),
        *(
            forged(lambda claims, name=name: claims.pop(name))  # type: ignore[misc]
            for name in ("iss", "aud", "iat", "exp", "jti", "contract", "htm", "htu", "body")
        ),
    ],
)
def test_forged_token_is_refused(bad: str) -> None:
    with pytest.raises(errors.Unauthenticated) as refused:
        judge(bad)
    assert refused.type is errors.Unauthenticated


@pytest.mark.parametrize(
    "changed", [{"method": "DELETE"}, {"target": "/tools"}, {"target": "/tools?x=2"}, {"body": b""}]
)
def test_token_is_valid_for_its_own_request_only(changed: dict[str, Any]) -> None:
    with pytest.raises(errors.Unauthenticated, match="signed for another request"):
        judge(token(), **changed)


@pytest.mark.parametrize("behind", [-300, -5.1, 5.1, 300])
def test_clock_skew_names_both_times(behind: float) -> None:
    with pytest.raises(errors.ClockSkew) as refused:
        judge(token(), verifier(NOW + behind))
    assert "2027-01-15T08:00:00.500" in refused.value.message
    assert tokens._format(NOW + behind) in refused.value.message


@pytest.mark.parametrize("behind", [-4.9, 4.9])
def test_small_clock_skew_is_accepted(behind: float) -> None:
    judge(token(), verifier(NOW + behind))


def test_expired_token_is_stale() -> None:
    with pytest.raises(errors.TokenStale, match="had to start by"):
        judge(token(expires=NOW + 2), verifier(NOW + 2))


def test_token_from_before_the_process_started_is_stale() -> None:
    with pytest.raises(errors.TokenStale, match="before this shim started"):
        judge(token(), verifier(NOW + 1, NOW + 0.5))


def test_token_is_accepted_once() -> None:
    by = verifier()
    judge(token(), by)
    with pytest.raises(errors.TokenStale, match="used before"):
        judge(token(), by)


def test_refused_token_does_not_count_as_used() -> None:
    by = verifier()
    with pytest.raises(errors.Unauthenticated):
        judge(token(), by, body=b"another")
    judge(token(), by)


def test_ids_of_expired_tokens_are_dropped() -> None:
    now = [NOW]
    by = tokens.Verifier(keys(KEY), AUDIENCE, NOW - 1, lambda: now[0])
    for second in range(200):
        now[0] = NOW + second
        judge(token(now=now[0], expires=now[0] + 10, jti=str(second)), by)
    assert sum(map(len, by._used.values())) <= 11


def test_two_keys_are_accepted_during_rotation() -> None:
    by = verifier(NOW, NOW - 1, KEY, OTHER)
    judge(token(jti="a"), by)
    judge(token(jti="b", private_key=OTHER), by)


def test_keys_can_be_replaced_while_serving() -> None:
    by = verifier()
    with pytest.raises(errors.Unauthenticated, match="names no key"):
        judge(token(jti="a", private_key=OTHER), by)
    by.trust(keys(OTHER))
    judge(token(jti="a", private_key=OTHER), by)
    with pytest.raises(errors.Unauthenticated, match="names no key"):
        judge(token(jti="b"), by)


def test_only_an_unknown_key_triggers_enrolment() -> None:
    by = verifier()
    for bad in (token(audience="x"), token(now=NOW - 300), "a.b.c"):
        with pytest.raises(errors.Unauthenticated):
            judge(bad, by)
    assert not by.unknown_key.is_set()
    with pytest.raises(errors.Unauthenticated):
        judge(token(private_key=OTHER), by)
    assert by.unknown_key.is_set()


def test_claims_can_be_checked_again_after_a_wait() -> None:
    claims = judge(token())
    claims.must_not_be_expired(NOW + 49.9)
    with pytest.raises(errors.TokenStale):
        claims.must_not_be_expired(NOW + 50)


def test_error_contains_no_token() -> None:
    text = token(audience="x")
    with pytest.raises(errors.Unauthenticated) as refused:
        judge(text)
    assert text.split(".")[2] not in refused.value.message


def test_verification_takes_less_than_5_ms() -> None:
    by = verifier(time.time(), 0)
    texts = [token(now=time.time(), expires=time.time() + 30, jti=str(uuid.uuid4())) for _ in range(200)]
    began = time.perf_counter()
    for text in texts:
        judge(text, by)
    assert (time.perf_counter() - began) / 200 < 0.005
