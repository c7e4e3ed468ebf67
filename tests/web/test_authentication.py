"""Every route authenticates its caller and reveals nothing to others."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from flask import Flask

from tests.fakes.issuer import Issuer
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.web.conftest import SERVICE, SERVICE_AUDIENCE, Caller

TOOLS = f"/{TOOLBOX}/tools"
ACCOUNT_ROUTES = [
    ("GET", "toolboxes-user", "/"),
    ("GET", "toolboxes-user", f"/{TOOLBOX}"),
    ("GET", "toolboxes-user", f"/{TOOLBOX}/refresh-status"),
    ("POST", "toolboxes-user", f"/{TOOLBOX}/refresh-status"),
    ("DELETE", "toolboxes-user", f"/{TOOLBOX}"),
    ("POST", "toolboxes-user", f"/{TOOLBOX}/rebuild"),
    ("POST", "toolboxes-user", f"/{TOOLBOX}/upgrade-shim"),
    ("GET", "toolboxes-user", f"/{TOOLBOX}/events"),
    ("GET", "toolboxes-user", f"/{TOOLBOX}/stats"),
    ("GET", "toolbox-tools", TOOLS),
    ("POST", "toolbox-tools", TOOLS),
    ("GET", "toolbox-tools", f"{TOOLS}/server"),
    ("PATCH", "toolbox-tools", f"{TOOLS}/server"),
    ("GET", "toolbox-tools", f"{TOOLS}/server/wait?status=running"),
    ("GET", "toolbox-tools", f"{TOOLS}/server/events"),
    ("GET", "toolbox-tools", f"{TOOLS}/server/post-mortems"),
    ("DELETE", "toolbox-tools", f"{TOOLS}/server"),
    ("POST", "toolbox-tools", f"{TOOLS}/server/start"),
    ("POST", "toolbox-tools", f"{TOOLS}/server/stop"),
    ("POST", "toolbox-tools", f"{TOOLS}/server/restart"),
    ("GET", "toolbox-tools", f"{TOOLS}/server/logs"),
    ("GET", "toolbox-tools", f"{TOOLS}/server/stats"),
    ("POST", "toolbox-tools", f"{TOOLS}/server/exec"),
]
OWN_ROUTES = [
    ("POST", "toolboxes-user", "/upgrade-shims"),
    ("GET", "toolboxes-user", "/upgrade-shims"),
    ("GET", "toolboxes-user", "/orphan-droplets"),
    ("POST", "toolboxes-user", "/"),
    ("POST", "toolbox-tools", "/"),
    ("POST", "toolbox-dtma-console", "/"),
    ("GET", "toolboxes-user", "/registries"),
    ("GET", "toolboxes-user", "/registries/registry.example"),
    ("PUT", "toolboxes-user", "/registries/registry.example"),
    ("DELETE", "toolboxes-user", "/registries/registry.example"),
]
SERVICE_ROUTES = [("POST", "converge", "/"), ("POST", "sweep", "/")]
SIGNED_ROUTES = [("POST", "webhooks", "/backend"), ("POST", "enrol", "/"), ("POST", "notify", "/")]
PUBLIC_ROUTES = [
    ("GET", "toolboxes-user", "/openapi.json"),
    ("GET", "digitalocean-options", "/regions"),
    ("GET", "digitalocean-options", "/sizes"),
]


def test_these_are_all_routes_that_there_are(apps: dict[str, Flask]) -> None:
    known = [
        (function, method, apps[function].url_map.bind("localhost").match(path.partition("?")[0], method)[0])
        for method, function, path in ACCOUNT_ROUTES + OWN_ROUTES + SERVICE_ROUTES + SIGNED_ROUTES + PUBLIC_ROUTES
    ]
    served = [
        (name, method, rule.endpoint)
        for name, app in apps.items()
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    ]
    assert sorted(served) == sorted(known)


def forged(issuer: Issuer) -> dict[str, str | None]:
    good: dict[str, object] = {"sub": ACCOUNT, "iss": issuer.url, "aud": "toolboxes", "exp": 9_000_000_000}

    def raw(algorithm: str, key: bytes | None) -> str:
        """By hand: the library refuses to make such tokens."""
        parts = (json.dumps(part).encode() for part in ({"alg": algorithm, "kid": "key-1"}, good))
        signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        mac = hmac.digest(key, signed, "sha256") if key else b""
        return (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()

    def sealed(payload: bytes) -> str:
        """Signed by the issuer, whatever is in it."""
        return jwt.PyJWS().encode(payload, issuer.key, "RS256", headers={"kid": issuer.kid})

    other_issuer = Issuer()
    other_issuer.close()
    return {
        "no token": None,
        "empty": "",
        "not a token": "abc",
        "expired": issuer.token(ACCOUNT, exp=1_600_000_000),
        "not yet valid": issuer.token(ACCOUNT, nbf=9_000_000_000),
        "no expiry": issuer.token(ACCOUNT, exp=None),
        "no subject": issuer.token(None),
        "empty subject": issuer.token(""),
        "huge subject": issuer.token("a" * 256),
        "other audience": issuer.token(ACCOUNT, aud="others"),
        "other issuer": issuer.token(ACCOUNT, iss="https://example.org"),
        "other key": other_issuer.token(ACCOUNT, iss=issuer.url),
        "alg none": raw("none", None),
        "public key as secret": raw("HS256", issuer.public_pem()),
        "huge": issuer.token(ACCOUNT, more="x" * 20_000),
        "other key in its header": other_issuer.token(
            ACCOUNT, iss=issuer.url, headers={"jwk": json.loads(other_issuer.jwks())}
        ),
        "keys elsewhere": other_issuer.token(ACCOUNT, iss=issuer.url, headers={"jku": other_issuer.settings.jwks_url}),
        "no key named": issuer.token(ACCOUNT, headers={"kid": ""}),
        "unknown key": issuer.token(ACCOUNT, headers={"kid": "../../key-1"}),
        "critical extension": issuer.token(ACCOUNT, headers={"crit": ["exp"]}),
        "token in a token": sealed(issuer.token(ACCOUNT).encode()),
        "no object": sealed(b'["a"]'),
        "brackets without end": sealed(b"[" * 9_000),
        "brackets in the header": base64.urlsafe_b64encode(b"[" * 9_000).decode().rstrip("=") + ".e30.e30",
        "expiry without end": sealed(json.dumps({**good, "exp": float("inf")}).encode()),
        "expiry of many digits": sealed(json.dumps(good).replace("9000000000", "9" * 5_000).encode()),
        "expiry that is no number": issuer.token(ACCOUNT, exp="tomorrow"),
        "audience in a map": issuer.token(ACCOUNT, aud={"toolboxes": True}),
        "subject that is a number": sealed(json.dumps({**good, "sub": 7}).encode()),
        "subject with a line end": issuer.token("account-a\nX-Admin: true"),
        "subject with half a character": issuer.token("\ud800"),
    }


def test_a_token_that_proves_nothing_is_a_401_on_every_route(
    world: World, apps: dict[str, Flask], issuer: Issuer
) -> None:
    tokens = forged(issuer)
    for method, function, path in ACCOUNT_ROUTES + OWN_ROUTES + SERVICE_ROUTES:
        for why, token in tokens.items():
            answer = Caller(apps, token)(method, function, path)
            assert answer.status_code == 401, (method, function, path, why)
            assert answer.json["type"] == "urn:toolboxes:problem:unauthorized"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert not world.documents() and not world.droplet.calls


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "other@x", "email_verified": True},
        {"email": SERVICE},
        {"email": SERVICE, "email_verified": "true"},
        {"email": SERVICE, "email_verified": True, "aud": "toolboxes"},
        {"email": SERVICE, "email_verified": True, "iss": "https://accounts.example"},
    ],
)
@pytest.mark.parametrize("route", SERVICE_ROUTES)
def test_workers_take_only_the_platforms_own_identity(
    apps: dict[str, Flask], issuer: Issuer, route: tuple[str, str, str], claims: dict[str, Any]
) -> None:
    platform: dict[str, Any] = {"aud": SERVICE_AUDIENCE, "email": SERVICE, "email_verified": True}
    assert Caller(apps, issuer.token("platform", **{"aud": SERVICE_AUDIENCE, **claims}))(*route).status_code == 401
    good = Caller(apps, issuer.token("platform", **platform))
    assert good(*route, json={"message": {"data": ""}}).status_code in (200, 400)
    assert good(*ACCOUNT_ROUTES[0]).status_code == 401


def test_a_list_shows_the_callers_own(world: World, call: Caller, apps: dict[str, Flask], issuer: Issuer) -> None:
    assert [record["id"] for record in call("GET", "toolboxes-user", "/").json] == [TOOLBOX]
    assert Caller(apps, issuer.token("account-b"))("GET", "toolboxes-user", "/").json == []


@pytest.mark.parametrize("part", ["[" * 12_000, "1" * 12_000, '{"alg":' * 1_500])
def test_a_token_of_deep_or_long_json_returns_401(apps: dict[str, Flask], part: str) -> None:
    encoded = base64.urlsafe_b64encode(part.encode()).decode().rstrip("=")[:16_000]
    header = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":"k"}').decode().rstrip("=")
    for token in (f"{encoded}.e30.x", f"{header}.{encoded}.x"):
        assert Caller(apps, token)("GET", "toolboxes-user", "/").status_code == 401
