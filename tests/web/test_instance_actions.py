"""`POST /toolbox-tools` with toolbox, action and instance in the body, as the existing frontend calls it."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from shim.contract import errors, routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.issuer import Issuer
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Answer, Caller

NAME = "Context7 MCP Server-1750278276605"


def act(call: Caller, action: str | None = None, instance: str | None = NAME, **options: Any) -> Answer:
    body = (
        {"toolboxId": TOOLBOX} | ({"action": action} if action else {}) | ({"instanceId": instance} if instance else {})
    )
    return call("POST", "toolbox-tools", "/", json=body, **options)


@pytest.fixture(autouse=True)
def deployed(call: Caller) -> dict[str, Any]:
    body = {"instanceNameOnToolbox": NAME, "dockerImage": IMAGE}
    return dict(call("POST", "toolbox-tools", f"/{TOOLBOX}/tools", json=body).json)


@pytest.mark.parametrize("key", ["id", "instance_name_on_toolbox"])
@pytest.mark.parametrize("action", ["stop", "start", "restart", "delete"])
def test_an_action_succeeds_when_it_is_proven(
    call: Caller, world: World, deployed: dict[str, Any], action: str, key: str
) -> None:
    answer = act(call, action, deployed[key])
    assert answer.status_code == 200
    assert answer.json == {
        "success": True, "message": answer.json["message"], "instanceId": deployed[key], "action": action,
        "timestamp": world.time.isoformat(),
    }  # fmt: skip
    states = [container.state for container in world.droplet.containers.values()]
    assert states == {"stop": ["exited"], "start": ["running"], "restart": ["running"], "delete": []}[action]


def test_what_is_not_done_yet_is_no_success(call: Caller, world: World) -> None:
    world.droplet.reachable = False
    answer = act(call, "stop")
    assert (answer.status_code, answer.json["success"]) == (202, False)
    assert "under way" in answer.json["message"]


def test_what_was_given_up_is_a_problem_whose_message_says_why(call: Caller, world: World) -> None:
    act(call, "stop")
    failure = errors.StartFailed("exec: not found")
    world.droplet.faults += [Fault(failure, routes.START)] * 2
    headers = {"Idempotency-Key": "k"}
    first, again = act(call, "start", headers=headers), act(call, "start", headers=headers)
    assert first.json["message"].endswith("exec: not found") and first.mimetype == "application/problem+json"
    assert (first.status_code, first.json["type"]) == (422, "urn:toolboxes:problem:instance-failed")
    assert (again.status_code, again.mimetype, again.json["detail"]) == (422, first.mimetype, first.json["detail"])


def test_an_action_sent_again_with_its_key_is_done_once(call: Caller, world: World) -> None:
    headers = {"Idempotency-Key": "k"}
    first = act(call, "restart", headers=headers)
    calls = len(world.droplet.calls)
    again = act(call, "restart", headers=headers)
    assert (again.json, len(world.droplet.calls)) == (first.json, calls)


def test_logs_are_lines_and_nothing_in_their_place(call: Caller, world: World) -> None:
    answer = act(call, "logs").json
    assert answer == {
        "success": True, "logs": ["2026-01-01T00:00:00.000000001Z ready"], "instanceId": NAME,
        "timestamp": world.time.isoformat(),
    }  # fmt: skip
    world.droplet.reachable = False
    refused = act(call, "logs")
    assert (refused.status_code, refused.json["message"]) == (503, refused.json["detail"])
    assert "success" not in refused.json


def test_without_an_action_all_instances_are_shown_and_whether_the_toolbox_answers(
    call: Caller, world: World, deployed: dict[str, Any]
) -> None:
    answer = act(call, None, None).json
    assert answer == {
        "success": True, "tool_instances": [deployed], "dtma_connected": True, "last_checked": world.time.isoformat(),
    }  # fmt: skip
    world.droplet.reachable = False
    answer = act(call, None, None).json
    assert (answer["dtma_connected"], answer["tool_instances"]) == (False, [{**deployed, "reachable": False}])


@pytest.mark.parametrize(
    "body",
    [{}, {"toolboxId": "x"}, {"toolboxId": TOOLBOX, "action": "start"}, {"toolboxId": TOOLBOX, "action": "explode"},
     {"toolboxId": TOOLBOX, "action": "start", "instanceId": ""}, {"toolboxId": TOOLBOX, "more": 1},
     {"toolboxId": TOOLBOX, "action": "start", "instanceId": 1}],
)  # fmt: skip
def test_what_names_no_act_is_refused(call: Caller, body: dict[str, Any]) -> None:
    assert call("POST", "toolbox-tools", "/", json=body).status_code == 400


@pytest.mark.parametrize("action", ["stop", "start", "restart", "delete", "logs", None])
def test_nobody_acts_on_what_is_somebody_elses(
    call: Caller, world: World, apps: dict[str, Flask], issuer: Issuer, action: str | None, deployed: dict[str, Any]
) -> None:
    calls = len(world.droplet.calls)
    answer = act(Caller(apps, issuer.token("account-b")), action)
    assert (answer.status_code, len(world.droplet.calls)) == (404, calls)
    assert act(call, "stop", "nobody").status_code == 404
