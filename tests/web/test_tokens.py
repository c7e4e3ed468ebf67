"""Whose tokens are believed: the pinned algorithm, the issuer's keys as they change, and a flood of what is none."""

import base64
import hmac
import json
import threading
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from functions.adapters.settings import TokenSettings
from functions.adapters.tokens import KeyTimes, TokenVerifier
from functions.domain.errors import Unauthorized, Unavailable
from tests.fakes.issuer import Issuer

SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
HOUR = 9_000_000_000
SUPABASE = {
    "iss": "https://project.supabase.co/auth/v1", "aud": "authenticated", "role": "authenticated", "exp": HOUR,
    "sub": "0b1c2d3e-0000-4000-8000-000000000001", "email": "a@b.c", "is_anonymous": False, "aal": "aal1",
    "app_metadata": {"provider": "email", "providers": ["email"]}, "user_metadata": {},
}  # fmt: skip
FIREBASE = {
    "iss": "https://securetoken.google.com/project-1", "aud": "project-1", "auth_time": 1, "exp": HOUR,
    "user_id": "Zx9", "sub": "Zx9", "firebase": {"identities": {}, "sign_in_provider": "custom"},
}  # fmt: skip


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[Issuer]:
    """An issuer of the test's own: what is counted and changed there is nobody else's."""
    made = Issuer(getattr(request, "param", "ES256"))
    yield made
    made.close()


def shared(claims: dict[str, Any], secret: str = SECRET) -> TokenVerifier:
    return TokenVerifier(TokenSettings(claims["iss"], claims["aud"], "HS256", secret=secret))


@pytest.mark.parametrize("own", ["RS256", "ES256"], indirect=True)
@pytest.mark.parametrize("claims", [SUPABASE, FIREBASE], ids=["supabase", "firebase"])
def test_tokens_as_supabase_and_firebase_make_them_are_believed(own: Issuer, claims: dict[str, Any]) -> None:
    verify = TokenVerifier(TokenSettings(claims["iss"], claims["aud"], own.algorithm, f"{own.url}/jwks.json"))
    assert verify(own.sign(claims))["sub"] == claims["sub"]
    for name, value in {"iss": "https://securetoken.google.com/project-2", "aud": "project-2", "sub": None}.items():
        other = {key: content for key, content in {**claims, name: value}.items() if content is not None}
        with pytest.raises(Unauthorized):
            verify(own.sign(other))


def test_an_older_supabase_projects_tokens_are_believed_by_its_secret() -> None:
    verify = shared(SUPABASE)
    assert verify(jwt.encode(SUPABASE, SECRET, "HS256"))["sub"] == SUPABASE["sub"]
    # Its `anon` and `service_role` keys are such tokens too, of nobody.
    anon = {"iss": "supabase", "ref": "project", "role": "anon", "exp": HOUR}
    other_secret = jwt.encode(SUPABASE, SECRET[::-1], "HS256")
    for token in (jwt.encode(anon, SECRET, "HS256"), jwt.encode(SUPABASE, SECRET, "HS384"), other_secret):
        with pytest.raises(Unauthorized):
            verify(token)


def test_a_token_of_another_algorithm_than_the_configured_one_is_refused(own: Issuer) -> None:
    """The issuer changes from RS256 to ES256, and publishes both keys meanwhile."""
    own.algorithm = "RS256"
    own.rotate("key-2")
    verify = TokenVerifier(own.settings)
    with pytest.raises(Unauthorized, match="of another algorithm"):
        verify(own.token("a"))
    rest = own.token("a").partition(".")[2]
    confused = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": "key-1"}).encode()).decode().rstrip("=")
    with pytest.raises(Unauthorized):
        verify(f"{confused}.{rest}")
    own.algorithm = "ES256"
    own.rotate("key-3")
    # Not known yet, and asked for not long ago.
    assert TokenVerifier(own.settings)(own.token("a"))["sub"] == "a"


@pytest.mark.parametrize("public", ["pem", "jwks"])
def test_a_public_key_is_no_secret(own: Issuer, public: str) -> None:
    key = own.public_pem() if public == "pem" else own.jwks()
    parts = [json.dumps({"alg": "HS256", "kid": own.kid}), json.dumps({**SUPABASE, "iss": own.url, "aud": "toolboxes"})]
    signed = b".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=")
    with pytest.raises(Unauthorized):
        TokenVerifier(own.settings)((signed + b"." + mac).decode())


def test_a_new_key_is_asked_for_when_it_is_first_met(own: Issuer) -> None:
    verify = TokenVerifier(own.settings, KeyTimes(cooldown=0))
    verify(own.token("a"))
    own.rotate("key-2")
    assert verify(own.token("a"))["sub"] == "a"
    assert own.fetches == 2


@pytest.mark.parametrize("answers", [None, (500, b"{}"), (200, b"<html>"), (200, b"[]"), (200, b'{"keys": []}')])
def test_a_flood_of_unknown_keys_is_no_flood_of_fetches(own: Issuer, answers: tuple[int, bytes] | None) -> None:
    """Whether the issuer answers or not."""
    verify, good = TokenVerifier(own.settings), own.token("a")
    verify(good)
    own.answers = answers
    refused = []

    def flood() -> None:
        for number in range(50):
            try:
                verify(own.token("a", headers={"kid": f"none-{number}"}))
            except Unauthorized as error:
                refused.append(error)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 200
    assert own.fetches == 1
    assert verify(good)["sub"] == "a"


@pytest.mark.parametrize("answers", [(503, b""), (200, b"<html>"), (200, b"[]"), (200, b'{"keys": []}')])
def test_a_failing_issuer_is_called_seldom_and_callers_get_retry_after(own: Issuer, answers: tuple[int, bytes]) -> None:
    own.answers = answers
    verify = TokenVerifier(own.settings)
    for _ in range(20):
        with pytest.raises(Unavailable):
            verify(own.token("a"))
    assert own.fetches == 1


def test_known_keys_serve_on_while_the_issuer_does_not_answer(own: Issuer) -> None:
    verify, good = TokenVerifier(own.settings, KeyTimes(fresh=1e-9, cooldown=0)), own.token("a")
    verify(good)
    own.answers = (503, b"")
    assert verify(good)["sub"] == "a"
    assert own.fetches == 2


def test_but_not_for_ever(own: Issuer) -> None:
    verify, good = TokenVerifier(own.settings, KeyTimes(fresh=1e-9, cooldown=0, stale=0)), own.token("a")
    verify(good)
    own.answers = (503, b"")
    with pytest.raises(Unavailable):
        verify(good)
    own.answers = None
    assert verify(good)["sub"] == "a"
