"""The checks before every route (token, contract version, route, body) and the form of every error."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import asdict
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shim import __version__, app
from shim.contract import messages, routes, tokens
from shim.contract.routes import Route
from tests.shim.caller import Caller
from tests.shim.droplet import create
from tests.shim.fake_engine import FakeEngine
from tests.shim.test_engine_faults import inspection

INTERNAL = {"code": "internal-error", "message": "Internal error. The shim's log has the details."}
COMMANDS = [route for route in routes.ROUTES if route != routes.HEALTH]
# The routes whose body is a message. The body of a relayed request is passed on unread.
MESSAGES = [route for route in COMMANDS if route != routes.RELAY]
BODIES: dict[Route, Any] = {
    routes.CREATE: create("probe:1"),
    routes.STOP: messages.Stop(),
    routes.RESTART: messages.Restart("x"),
    routes.PULL: messages.Pull("probe:1"),
    routes.REMOVE_IMAGES: messages.RemoveImages([]),
    routes.UPGRADE: messages.Upgrade("probe@sha256:" + "0" * 64),
    routes.SAVE: messages.Save(1 << 20, ["http://127.0.0.1:1/"]),
    routes.LOAD: messages.Load(["http://127.0.0.1:1/"], 1, "0"),
    routes.EXECUTE: messages.Execute(["true"]),
}


def each_command(commands: list[Route] = COMMANDS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", commands, ids=lambda route: f"{route.method} {route.path}")


def target_of(route: Route, name: str) -> str:
    return routes.relay_target(name, 80, "/x") if route is routes.RELAY else route.target(name, volume="data")


def body(route: Route) -> bytes:
    return json.dumps(asdict(BODIES[route])).encode() if route in BODIES else b""


def test_health_needs_no_token_and_answers_only_status_and_versions(caller: Caller) -> None:
    answer = caller.send("GET", "/health", {}, b"")
    assert (answer.status, answer.json) == (200, {"status": "ok", "version": __version__, "contract": routes.CONTRACT})


@each_command()
def test_command_without_token_returns_401(caller: Caller, fake_engine: FakeEngine, route: Route, name: str) -> None:
    answer = caller.send(route.method, target_of(route, name), {}, body(route))
    assert (answer.status, answer.code) == (401, "unauthenticated")
    assert answer.headers[routes.CONTRACT_HEADER] == str(routes.CONTRACT)
    assert fake_engine.calls == []


@each_command()
def test_command_of_another_contract_returns_409(
    caller: Caller, fake_engine: FakeEngine, route: Route, name: str, key: Ed25519PrivateKey
) -> None:
    answer = another_contract(caller, key, route.method, target_of(route, name), body(route))
    assert (answer.status, answer.code) == (409, "shim-incompatible")
    assert "contract 7" in answer.json["error"]["message"] and "speaks contract 2" in answer.json["error"]["message"]
    assert fake_engine.calls == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"private_key": Ed25519PrivateKey.generate()}, "unauthenticated"),
        ({"audience": tokens.audience("another", "ab" * 32)}, "unauthenticated"),
        ({"method": "PUT"}, "unauthenticated"),
        ({"target": "/another"}, "unauthenticated"),
        ({"body": b"another"}, "unauthenticated"),
        ({"now": -300}, "clock-skew"),
        ({"now": 300}, "clock-skew"),
        ({"expires": -1}, "token-stale"),
        ({"expires": 600}, "unauthenticated"),
        ({"now": -4.9}, "token-stale"),
    ],
    ids=str,
)
@each_command()
def test_wrong_token_reaches_no_engine(
    caller: Caller, fake_engine: FakeEngine, route: Route, name: str, changed: dict[str, Any], code: str
) -> None:
    """The last token of the table was issued before this shim started."""
    now, target, sent = time.time(), target_of(route, name), body(route)
    moved = {key: now + value if key in ("now", "expires") else value for key, value in changed.items()}
    # A token expires 50 s after the time of its issue, unless the case sets another time.
    moved.setdefault("expires", moved.get("now", now) + 50)
    text = caller.token(**{"method": route.method, "target": target, "body": sent, **moved})
    answer = caller.send(route.method, target, {"Authorization": f"Bearer {text}"}, sent)
    assert (answer.status, answer.code) == (401, code)
    assert fake_engine.calls == []


@each_command(MESSAGES)
def test_used_token_is_stale(caller: Caller, route: Route, name: str) -> None:
    target = target_of(route, name)
    # A token counts as used even if the body is then refused.
    text = caller.token(route.method, target, b"[]")
    answers = [caller.send(route.method, target, {"Authorization": f"Bearer {text}"}, b"[]").code for _ in range(2)]
    assert answers == ["bad-request", "token-stale"]


def another_contract(caller: Caller, key: Ed25519PrivateKey, method: str, target: str, body: bytes = b"") -> Any:
    claims = jwt.decode(caller.token(method, target, body), options={"verify_signature": False})
    text = jwt.encode(claims | {"contract": 7}, key, "EdDSA", headers={"kid": tokens.kid(key.public_key())})
    return caller.send(method, target, {"Authorization": f"Bearer {text}"}, body)


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/instances"), ("PUT", "/status"), ("POST", "/tools/x/explode")]
)
def test_another_contract_is_never_an_unknown_route(
    caller: Caller, key: Ed25519PrivateKey, method: str, target: str
) -> None:
    assert another_contract(caller, key, method, target).code == "shim-incompatible"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("GET", "/instances"),
        ("PUT", "/status"),
        ("OPTIONS", "/status"),
        ("GET", "/status/"),
        ("POST", "/tools/x/explode"),
        ("GET", "/tools/a/b"),
        ("GET", "/static/app.py"),
    ],
)
def test_unknown_route_returns_404(caller: Caller, method: str, target: str) -> None:
    answer = caller.raw(method, target)
    assert (answer.status, answer.code) == (404, "unknown-route")


@pytest.mark.parametrize("route", [route for route in MESSAGES if "{name}" in route.path], ids=lambda route: route.path)
@pytest.mark.parametrize(
    "requested", ["x", "toolboxes-shim", "..", "tool-x-g1", f"tool-{uuid.uuid4()}-g0", "a%b c", "é"]
)
def test_impossible_container_name_reaches_no_engine(
    caller: Caller, fake_engine: FakeEngine, route: Route, requested: str
) -> None:
    answer = caller.call(route, requested, BODIES.get(route))
    assert (answer.status, answer.code) == (404, "no-such-container")
    assert fake_engine.calls == []


@each_command(MESSAGES)
def test_unknown_field_is_refused(caller: Caller, route: Route, name: str) -> None:
    answer = caller.raw(route.method, target_of(route, name), b'{"privileged": true}')
    assert (answer.status, answer.code) == (400, "bad-request")
    assert "privileged" in answer.json["error"]["message"]


@each_command(MESSAGES)
def test_unknown_query_key_is_refused(caller: Caller, route: Route, name: str) -> None:
    answer = caller.call(route, name, BODIES.get(route), query="force=1")
    assert (answer.status, answer.code) == (400, "bad-request")


@pytest.mark.parametrize(
    "query",
    ["tail=0", "tail=5001", "tail=x", "tail=1&tail=2", "since=yesterday", "since=2026-13-01T00:00:00Z", "tail=²"],
)
def test_query_out_of_bounds_is_refused(caller: Caller, name: str, query: str) -> None:
    answer = caller.call(routes.LOGS, name, query=query.replace("²", "%C2%B2"))
    assert (answer.status, answer.code) == (400, "bad-request")


@each_command(MESSAGES)
def test_body_over_one_megabyte_returns_413(caller: Caller, fake_engine: FakeEngine, route: Route, name: str) -> None:
    answer = caller.raw(route.method, target_of(route, name), b" " * (routes.MAX_BODY_BYTES + 1))
    assert (answer.status, answer.code) == (413, "body-too-large")
    assert fake_engine.calls == []


def test_unexpected_error_is_logged_and_hides_its_cause(
    caller: Caller, fake_engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    fake_engine.on("GET /containers/json", (200, [{"nonsense": 1}]))
    answer = caller.call(routes.STATUS)
    assert (answer.status, answer.json["error"]) == (500, INTERNAL)
    assert "Traceback" in caplog.text and "KeyError" in caplog.text


def test_log_contains_no_token_and_no_environment_value(
    caller: Caller, fake_engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    requested = create("probe:1", environment={"KEY": "s3cret"})
    fake_engine.on("POST /containers/create", (400, {"message": "invalid"}))
    body = json.dumps(asdict(requested)).encode()
    text = caller.token("POST", "/tools", body)
    answer = caller.send("POST", "/tools", {"Authorization": f"Bearer {text}"}, body)
    assert answer.status == 400
    assert "s3cret" not in caplog.text and text.split(".")[2] not in caplog.text
    access = next(record for record in caplog.records if record.getMessage() == "POST /tools 400")
    assert access.jti and access.milliseconds >= 0  # type: ignore[attr-defined]


def test_log_contains_neither_a_command_nor_its_directory(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id)))
    fake_engine.on("POST /containers/c1/exec", (400, {"message": "no s3cret-word in /s3cret-directory"}))
    answer = caller.call(routes.EXECUTE, name, messages.Execute(["s3cret-word"], {}, "/s3cret-directory"))
    assert answer.status >= 400 and "s3cret-word" in answer.json["error"]["message"]
    assert caller.call(routes.EXECUTE, name, messages.Execute(["s3cret-word"], {}, "s3cret-directory")).status == 400
    assert caplog.records and "s3cret" not in caplog.text


def test_every_route_has_a_handler(caller: Caller) -> None:
    acts = app.handlers(None)  # type: ignore[arg-type]
    assert set(acts) | {routes.HEALTH, routes.RELAY} == set(routes.ROUTES)
