"""Every POST, PATCH and DELETE of an account takes an Idempotency-Key; here those that are about no instance.

What a key does to an instance is tests/lifecycle/test_idempotency.py's, and to a command test_exec.py's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from functions.domain.errors import Unavailable
from functions.web import openapi
from functions.web.route import Proof, Route
from shim.contract import errors as shim_errors
from shim.contract import routes as contract_routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.issuer import Issuer
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import SHIM_IMAGE, Caller, built

KEY = {"Idempotency-Key": "once"}
CONSOLE, REGISTRY, REFRESH = "toolbox-dtma-console", "/registries/registry.test", f"/{TOOLBOX}/refresh-status"
ROUTES = {(name, route.endpoint): route for name, routes in openapi.FUNCTIONS.items() for route in routes}
OF_ACCOUNTS = [
    (name, route)
    for (name, _), route in ROUTES.items()
    if route.proof is Proof.ACCOUNT and route.method in ("POST", "PATCH", "DELETE")
]
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("toolboxes-user", "POST /"): {"name": "box", "regionSlug": "fra1", "sizeSlug": "s-1vcpu-1gb"},
    ("toolbox-tools", "POST /<toolbox>/tools"): {"instanceNameOnToolbox": "other", "dockerImage": IMAGE},
    ("toolbox-tools", "POST /<toolbox>/tools/<instance>/exec"): {"command": ["true"]},
    ("toolbox-tools", "POST /"): {"toolboxId": TOOLBOX, "action": "stop", "instanceId": "server"},
    (CONSOLE, "POST /"): {"toolboxId": TOOLBOX},
}


@pytest.fixture
def operator(apps: dict[str, Flask], issuer: Issuer) -> Caller:
    """An admin, so that no route is hidden."""
    return Caller(apps, issuer.token("operator", app_metadata={"role": "admin"}))


def console(call: Caller, action: str, **headers: str) -> Any:
    return call("POST", CONSOLE, "/", json={"toolboxId": TOOLBOX, "action": action}, headers={**KEY, **headers})


def test_no_function_serves_an_account_a_change_without_a_key(apps: dict[str, Flask]) -> None:
    served = [
        ROUTES[name, rule.endpoint]
        for name, app in apps.items()
        for rule in app.url_map.iter_rules()
        if (rule.methods or set()) & {"POST", "PATCH", "DELETE"}
    ]
    accounts = [route for route in served if route.proof is Proof.ACCOUNT]
    assert len(accounts) == len(OF_ACCOUNTS) > 10
    assert [route.endpoint for route in accounts if not route.idempotent] == []


@pytest.mark.parametrize(("name", "route"), OF_ACCOUNTS, ids=lambda value: getattr(value, "endpoint", value))
def test_a_key_that_came_with_another_request_is_refused_by_each(operator: Caller, name: str, route: Route) -> None:
    operator(
        "POST", "toolbox-tools", f"/{TOOLBOX}/tools", json={"instanceNameOnToolbox": "server", "dockerImage": IMAGE}
    )
    assert console(operator, "restart").status_code == 200
    path = route.path.replace("<toolbox>", TOOLBOX).replace("<instance>", "server").replace("<host>", "registry.test")
    answer = operator(route.method, name, path, json=BODIES.get((name, route.endpoint), {}), headers=KEY)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:toolboxes:problem:idempotency-key-reused")


def test_a_key_is_of_one_function_where_two_have_the_same_path_and_body(call: Caller) -> None:
    body = {"toolboxId": TOOLBOX}
    assert call("POST", CONSOLE, "/", json=body, headers=KEY).status_code == 200
    assert call("POST", "toolbox-tools", "/", json=body, headers=KEY).status_code == 422


def test_a_key_is_bound_also_where_nothing_was_left_to_do(call: Caller) -> None:
    assert call("DELETE", "toolboxes-user", f"/{TOOLBOX}").status_code == 202
    assert [call("DELETE", "toolboxes-user", f"/{TOOLBOX}", headers=KEY).status_code for _ in range(2)] == [202, 202]
    assert call("POST", "toolboxes-user", REFRESH, headers=KEY).status_code == 422


@pytest.mark.parametrize(
    "body", [{"toolboxId": TOOLBOX}, {"toolboxId": TOOLBOX, "action": "logs", "instanceId": "server"}]
)
def test_what_only_reads_is_bound_to_its_key_and_read_anew(call: Caller, world: World, body: dict[str, Any]) -> None:
    call("POST", "toolbox-tools", f"/{TOOLBOX}/tools", json={"instanceNameOnToolbox": "server", "dockerImage": IMAGE})
    read = [call("POST", "toolbox-tools", "/", json=body, headers=KEY).status_code for _ in range(2)]
    calls = len(world.droplet.calls)
    assert (read, call("POST", "toolbox-tools", "/", json=body, headers=KEY).status_code) == ([200, 200], 200)
    assert len(world.droplet.calls) == calls + 1
    assert all(document["answer"] is None for document in world.documents("requests"))
    other = {**body, "action": "stop", "instanceId": "server"}
    assert call("POST", "toolbox-tools", "/", json=other, headers=KEY).status_code == 422


def test_a_look_sent_again_is_answered_with_what_was_seen(call: Caller, world: World) -> None:
    def refresh() -> Any:
        return call("POST", "toolboxes-user", REFRESH, headers=KEY).json

    def status() -> Any:
        return console(call, "status", **{"Idempotency-Key": "other"}).json

    first, shown = refresh(), status()
    world.droplet.reachable = False
    world.pass_time(1)
    assert (refresh(), status()) == (first, shown)
    assert call("POST", "toolboxes-user", REFRESH).json["status"] == "unresponsive"


def test_a_restart_sent_again_is_answered_again_and_restarts_nothing(call: Caller, world: World) -> None:
    first, again = console(call, "restart"), console(call, "restart")
    assert (again.status_code, again.json) == (200, first.json)
    assert world.droplet.shim_started_at == 2.0
    assert console(call, "redeploy").status_code == 422


def test_a_restart_of_unknown_outcome_is_confirmed_by_its_repeat_and_done_once(call: Caller, world: World) -> None:
    lost = [Fault(shim_errors.OutcomeUnknown("it broke off"), contract_routes.STATUS) for _ in range(60)]

    def silent_afterwards(route: contract_routes.Route, name: str) -> None:
        if route is contract_routes.RESTART_SHIM:
            world.droplet.faults += lost

    world.droplet.before_command = silent_afterwards
    assert console(call, "restart").status_code == 504
    world.droplet.faults.clear()
    assert console(call, "restart").json["success"] is True
    assert world.droplet.shim_started_at == 2.0


def test_a_restart_whose_answer_was_not_stored_is_confirmed_by_its_repeat(call: Caller, world: World) -> None:
    def fail(writes: Any) -> None:
        if world.droplet.shim_started_at == 2.0:
            raise Unavailable("the store did not answer")

    world.store.before_commit = fail
    assert console(call, "restart").status_code == 503
    world.store.before_commit = lambda writes: None
    assert console(call, "restart").json["success"] is True
    assert world.droplet.shim_started_at == 2.0


def test_of_two_restarts_under_one_key_at_the_same_time_one_is_done(call: Caller, world: World) -> None:
    seconds: list[Any] = []

    def meanwhile(route: contract_routes.Route, name: str) -> None:
        if not seconds:
            seconds.append(None)
            seconds[0] = console(call, "restart")

    world.droplet.before_command = meanwhile
    first = console(call, "restart")
    assert (first.status_code, seconds[0].status_code, world.droplet.shim_started_at) == (200, 200, 2.0)
    assert first.json == seconds[0].json
    assert console(call, "restart").json == first.json


def test_a_restart_that_failed_is_tried_again_by_its_repeat(call: Caller, world: World) -> None:
    world.droplet.restart_works = False
    assert console(call, "restart").status_code == 504
    world.droplet.restart_works = True
    assert console(call, "restart").json["success"] is True


def test_a_repeated_redeploy_requests_no_other(world: World, issuer: Issuer) -> None:
    call = Caller(built(world, issuer), issuer.token("account-a"))
    world.change_toolbox(lambda box: replace(box, observed_generation=box.generation))
    assert console(call, "redeploy").status_code == 202
    assert console(call, "redeploy").status_code == 202
    assert world.documents(f"account_tool_environments/{TOOLBOX}/events")[1:] == []
    world.change_toolbox(
        lambda box: replace(box, upgrade=None, shim_image=SHIM_IMAGE, observed_generation=box.generation)
    )
    done = console(call, "redeploy")
    assert (done.status_code, done.json["success"]) == (200, True)
    world.change_toolbox(lambda box: replace(box, shim_image="another"))
    assert console(call, "redeploy").json == done.json


def test_a_registry_stored_since_survives_a_repeated_delete(call: Caller) -> None:
    credentials = {"username": "robot", "password": "p"}

    def forget() -> Any:
        return call("DELETE", "toolboxes-user", REGISTRY, headers=KEY)

    call("PUT", "toolboxes-user", REGISTRY, json=credentials)
    assert (forget().status_code, call("GET", "toolboxes-user", REGISTRY).status_code) == (204, 404)
    call("PUT", "toolboxes-user", REGISTRY, json=credentials)
    assert (forget().status_code, call("GET", "toolboxes-user", REGISTRY).status_code) == (204, 200)


def test_a_repeated_rollout_is_answered_as_it_is_and_not_started_again(operator: Caller, world: World) -> None:
    def ask(**headers: str) -> Any:
        return operator("POST", "toolboxes-user", "/upgrade-shims", headers=headers)

    assert ask(**KEY).status_code == 202
    world.deliver()
    ended = operator("GET", "toolboxes-user", "/upgrade-shims").json
    assert ended["stage"] == "done"
    assert (ask(**KEY).status_code, ask(**KEY).json) == (202, ended)
    assert ask().json["stage"] == "running"
