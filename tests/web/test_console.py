"""`toolbox-dtma-console`, as the existing frontend calls it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from shim.contract import errors, routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.issuer import Issuer
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.web.conftest import SHIM_IMAGE, Caller, built


def console(call: Caller, action: str | None = None) -> Any:
    body = {"toolboxId": TOOLBOX} | ({"action": action} if action else {})
    return call("POST", "toolbox-dtma-console", "/", json=body)


@pytest.mark.parametrize("action", ["status", None])
def test_the_status_is_what_the_shim_says_now(call: Caller, world: World, action: str | None) -> None:
    body = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE, "portMappings": [{"containerPort": 1}]}
    record = call("POST", "toolbox-tools", f"/{TOOLBOX}/tools", json=body).json
    world.droplet.die(record["container_name"])
    port = record["ports"][0]["host_port"]
    assert console(call, action).json == {
        "success": True,
        "dtma_status": {
            "status": "healthy", "timestamp": world.time.isoformat(), "version": "1.0.0", "service": "toolboxes-shim",
            "environment": {"hasAuthToken": True, "hasApiKey": True, "hasApiBaseUrl": True, "port": 30000},
            "tool_instances": [{
                "account_tool_instance_id": record["id"], "instance_name_on_toolbox": "server",
                "container_id": record["container_id"], "status": "exited", "image": IMAGE,
                "ports": [{"ip": "0.0.0.0", "private_port": 1, "public_port": port, "type": "tcp"}],
                "created": record["created_at"],
            }],
        },
        "system_metrics": {
            "cpu_load_percent": 12.5,
            "memory": {"total_bytes": 8 << 30, "active_bytes": 1, "free_bytes": 5, "used_bytes": 3},
            "disk": {"mount": "/", "total_bytes": 50 << 30, "used_bytes": 20 << 30, "free_bytes": 30 << 30},
        },
    }  # fmt: skip


@pytest.mark.parametrize("action", ["status", "restart"])
def test_a_shim_that_cannot_be_reached_is_a_problem_with_a_message(call: Caller, world: World, action: str) -> None:
    world.droplet.reachable = False
    answer = console(call, action)
    assert (answer.status_code, answer.json["message"]) == (503, answer.json["detail"])


def test_a_restart_succeeds_once_another_process_has_answered(call: Caller, world: World) -> None:
    answer = console(call, "restart")
    assert (answer.status_code, answer.json["success"], answer.json["action"]) == (200, True, "restart")
    assert (world.droplet.shim_started_at, world.droplet.calls.count("POST /shim/restart")) == (2.0, 1)
    events = world.documents(f"account_tool_environments/{TOOLBOX}/events")
    assert [(event["type"], event["actor"]) for event in events] == [("shim_restart_requested", "account-a")]


def test_a_restart_whose_answer_is_lost_is_proven_all_the_same(call: Caller, world: World) -> None:
    lost = errors.OutcomeUnknown("it broke off")
    world.droplet.faults.append(Fault(lost, routes.RESTART_SHIM, after=True))
    assert console(call, "restart").json["success"] is True
    assert world.droplet.shim_started_at == 2.0


def test_a_restart_that_nobody_saw_is_no_success(call: Caller, world: World) -> None:
    world.droplet.restart_works = False
    answer = console(call, "restart")
    assert (answer.status_code, answer.json["type"]) == (504, "urn:toolboxes:problem:outcome-unknown")


def test_a_shim_that_does_not_know_the_command_is_said_to_be_too_old(call: Caller, world: World) -> None:
    world.droplet.faults.append(Fault(errors.UnknownRoute("no such route"), routes.RESTART_SHIM))
    answer = console(call, "restart")
    assert (answer.status_code, "upgrade it" in answer.json["message"]) == (409, True)


@pytest.mark.parametrize(("serves", "status"), [(SHIM_IMAGE, 200), ("another", 502), (None, 202)])
def test_a_redeploy_succeeds_once_the_configured_shim_has_answered(
    world: World, issuer: Issuer, serves: str | None, status: int
) -> None:
    def meanwhile(seconds: float) -> None:
        """What another worker's pass leaves, where there is one."""
        world.pass_time(seconds)
        if serves:
            world.change_toolbox(
                lambda box: replace(box, upgrade=None, shim_image=serves, observed_generation=box.generation)
            )

    world.change_toolbox(lambda box: replace(box, observed_generation=box.generation))
    world.deps = replace(world.deps, pause=meanwhile)
    answer = console(Caller(built(world, issuer), issuer.token(ACCOUNT)), "redeploy")
    assert (answer.status_code, answer.json.get("success")) == (status, {200: True, 202: False}.get(status))
    assert [task.kind for task in world.queue.tasks] == ["toolbox"]


@pytest.mark.parametrize("body", [{}, {"toolboxId": "x"}, {"toolboxId": TOOLBOX, "action": "format"}])
def test_what_names_no_act_is_refused(call: Caller, body: dict[str, Any]) -> None:
    assert call("POST", "toolbox-dtma-console", "/", json=body).status_code == 400


@pytest.mark.parametrize("action", ["status", "restart"])
def test_somebody_elses_toolbox_is_a_404(world: World, apps: dict[str, Flask], issuer: Issuer, action: str) -> None:
    assert console(Caller(apps, issuer.token("account-b")), action).status_code == 404
    assert world.droplet.calls == []
