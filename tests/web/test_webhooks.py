"""What the backend signs is heard, and nothing else is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from standardwebhooks.webhooks import Webhook

from functions.lifecycle.account.admission import ACCOUNTS
from functions.lifecycle.account.status import RECEIVED
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.web.conftest import WEBHOOK_SECRETS, Answer, Caller

SUSPENDED = {"type": "account.suspended", "timestamp": "2026-01-01T00:00:00Z", "data": {"account": ACCOUNT}}


def signed(body: str, id: str = "msg_1", secret: str = WEBHOOK_SECRETS[0], ago: float = 0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=ago)
    signature = Webhook(secret).sign(id, at, body)
    return {"webhook-id": id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


@pytest.fixture
def backend(apps: dict[str, Flask]) -> Caller:
    return Caller(apps, None)


def send(backend: Caller, message: dict[str, Any], **options: Any) -> Answer:
    body = json.dumps(message)
    return backend("POST", "webhooks", "/backend", data=body, headers=signed(body, **options))


@pytest.mark.parametrize("secret", WEBHOOK_SECRETS)
def test_what_any_of_the_secrets_has_signed_is_on_record_when_it_is_answered(
    world: World, backend: Caller, secret: str
) -> None:
    assert send(backend, SUSPENDED, secret=secret).status_code == 204
    [account] = world.documents(ACCOUNTS)
    assert (account["account"], account["status"]) == (ACCOUNT, "suspended")


def test_an_account_is_suspended_and_resumed_by_word_of_the_backend(
    world: World, backend: Caller, call: Caller
) -> None:
    world.deploy()
    for kind, minute, status in (("suspended", 1, "stopped"), ("resumed", 2, "running")):
        message = {**SUSPENDED, "type": f"account.{kind}", "timestamp": f"2026-01-01T00:0{minute}:00Z"}
        assert send(backend, message, id=f"msg_{minute}").status_code == 204
        world.deliver()
        world.deliver()
        assert call("GET", "toolbox-tools", f"/{TOOLBOX}/tools/server").json["status_on_toolbox"] == status
        started = call("POST", "toolbox-tools", f"/{TOOLBOX}/tools/server/start")
        assert started.status_code == (403 if kind == "suspended" else 200)


def test_a_replay_is_answered_and_changes_nothing(world: World, backend: Caller) -> None:
    body = json.dumps(SUSPENDED)
    headers = signed(body)
    before = None
    for _ in range(3):
        assert backend("POST", "webhooks", "/backend", data=body, headers=headers).status_code == 204
        before = before or world.documents(ACCOUNTS)
    assert world.documents(ACCOUNTS) == before
    assert len(world.documents(RECEIVED)) == 1


BODY = json.dumps(SUSPENDED)
GOOD = signed(BODY)
ABUSES: dict[str, tuple[dict[str, str], str | bytes]] = {
    "no headers": ({}, BODY),
    **{f"no {name}": ({n: v for n, v in GOOD.items() if n != name}, BODY) for name in GOOD},
    **{f"empty {name}": ({**GOOD, name: ""}, BODY) for name in GOOD},
    "another secret": (signed(BODY, secret="whsec_" + "C" * 32), BODY),
    "another body": (GOOD, BODY.replace("suspended", "deleted")),
    "a longer body": (GOOD, BODY + " "),
    "no body": (GOOD, ""),
    "another id": ({**GOOD, "webhook-id": "msg_2"}, BODY),
    "another time": ({**GOOD, "webhook-timestamp": str(int(GOOD["webhook-timestamp"]) + 1)}, BODY),
    "too old": (signed(BODY, ago=301), BODY),
    "yet to come": (signed(BODY, ago=-3600), BODY),
    "time that is no number": ({**GOOD, "webhook-timestamp": "now"}, BODY),
    "time without end": ({**GOOD, "webhook-timestamp": "inf"}, BODY),
    "time of many digits": ({**GOOD, "webhook-timestamp": "9" * 400}, BODY),
    "no version": ({**GOOD, "webhook-signature": GOOD["webhook-signature"].removeprefix("v1,")}, BODY),
    "another version": ({**GOOD, "webhook-signature": "v1a" + GOOD["webhook-signature"][2:]}, BODY),
    "no base64": ({**GOOD, "webhook-signature": "v1,é"}, BODY),
    "an empty signature": ({**GOOD, "webhook-signature": "v1,"}, BODY),
    "many signatures": ({**GOOD, "webhook-signature": "v1,AAAA " * 1000}, BODY),
    "an id with a dot": (signed(BODY, id="msg.1"), BODY),
    "an id with a space": (signed(BODY, id="msg 1"), BODY),
    "a huge id": (signed(BODY, id="m" * 256), BODY),
    "no text": (GOOD, b"\xff\xfe"),
}


@pytest.mark.parametrize("abuse", ABUSES)
def test_what_is_not_signed_is_a_401_and_leaves_nothing(world: World, backend: Caller, abuse: str) -> None:
    headers, body = ABUSES[abuse]
    answer = backend("POST", "webhooks", "/backend", data=body, headers=headers)
    assert (answer.status_code, answer.json["type"]) == (401, "urn:toolboxes:problem:unauthorized")
    assert world.documents(ACCOUNTS) == world.documents(RECEIVED) == []


def test_among_several_signatures_one_that_holds_is_enough(backend: Caller) -> None:
    headers = signed(BODY)
    headers["webhook-signature"] = f"v1,AAAA v2,x {headers['webhook-signature']}"
    assert backend("POST", "webhooks", "/backend", data=BODY, headers=headers).status_code == 204


@pytest.mark.parametrize(
    "message",
    [
        {},
        {**SUSPENDED, "type": "account.created"},
        {**SUSPENDED, "timestamp": "2026-01-01T00:00:00"},
        {**SUSPENDED, "timestamp": "2026-01-01T00:05:01Z"},
        {**SUSPENDED, "timestamp": 1767225600},
        {**SUSPENDED, "data": {}},
        {**SUSPENDED, "data": {"account": ""}},
        {**SUSPENDED, "data": {"account": 7}},
        {**SUSPENDED, "data": {"account": "a" * 256}},
        {**SUSPENDED, "data": {"account": "a\n"}},
        {**SUSPENDED, "data": [ACCOUNT]},
    ],
)
def test_what_is_signed_and_makes_no_sense_is_a_400(world: World, backend: Caller, message: dict[str, Any]) -> None:
    assert send(backend, message).status_code == 400
    assert world.documents(ACCOUNTS) == world.documents(RECEIVED) == []


def test_credentials_that_were_rotated_are_put_into_the_instance(world: World, backend: Caller) -> None:
    instance = world.deploy()
    data = {"account": ACCOUNT, "instanceId": instance.id, "secretVariables": {"API_KEY": "planted-value"}}
    message = {"type": "credentials.rotated", "timestamp": "2026-01-01T00:00:00Z", "data": data}
    assert send(backend, message).status_code == 204
    world.deliver()
    [name] = world.droplet.running()
    assert world.droplet.environments[name] == {"API_KEY": "planted-value"}
    nobodys = {**message, "data": {**data, "account": "account-b"}}
    assert send(backend, nobodys, id="msg_2").status_code == 404


@pytest.mark.parametrize(
    "changed",
    [
        {"instanceId": "server"},
        {"secretVariables": {}},
        {"secretVariables": {"A": None}},
        {"secretVariables": {"A=B": "x"}},
        {"secretVariables": {"__A__": "x"}},
        {"secretVariables": {"A": "nul\0"}},
        {"secretVariables": {"A": 7}},
    ],
)
def test_credentials_that_make_no_sense_are_a_400_that_does_not_show_them(
    backend: Caller, changed: dict[str, Any]
) -> None:
    data = {"account": ACCOUNT, "instanceId": TOOLBOX, "secretVariables": {"A": "x"}, **changed}
    answer = send(backend, {"type": "credentials.rotated", "timestamp": "2026-01-01T00:00:00Z", "data": data})
    assert answer.status_code == 400
    assert "nul" not in answer.text.replace("null", "")


def test_a_huge_body_is_a_413(backend: Caller) -> None:
    assert send(backend, {**SUSPENDED, "more": "x" * 1_000_000}).status_code == 413
