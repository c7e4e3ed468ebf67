"""Two accounts: whatever one of them has is to the other as if it were not there, on every route that there is.

The routes are Flask's own, so that one that is added is walked too, or fails here until it can be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from flask import Flask

from functions.domain.instance.model import Instance
from functions.lifecycle.account import registries
from functions.lifecycle.account.registries import REGISTRIES
from functions.lifecycle.idempotency import REQUESTS
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.repository import INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, TOOLBOXES
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from functions.web import openapi
from functions.web.route import Proof, Route
from tests.fakes.droplet import IMAGE
from tests.fakes.issuer import Issuer
from tests.fakes.world import CALLER, OTHER_CALLER, TOOLBOX, World, new
from tests.web.conftest import Caller

THEIRS = "22222222-2222-4222-8222-222222222222"
NOWHERE, NOBODY = "99999999-9999-4999-8999-999999999999", "88888888-8888-4888-8888-888888888888"
HOST, NO_HOST = "registry.example", "registry.nowhere"
# What each route needs to be asked at all, where that is not nothing.
BODIES: dict[str, Any] = {
    "POST /<toolbox>/tools": {"instanceNameOnToolbox": "mine", "dockerImage": IMAGE},
    "PATCH /<toolbox>/tools/<instance>": {"environmentVariables": {"A": "b"}},
    "POST /<toolbox>/tools/<instance>/exec": {"command": ["true"]},
}
SAME_NAME = {"instanceNameOnToolbox": "server"}
QUERIES = {"GET /<toolbox>/tools/<instance>/wait": "?status=running&timeout=0"}
# Those that say in their body what they are about; their path says nothing of it.
ABOUT_THEIR_BODY = {("toolbox-tools", "POST /"), ("toolbox-dtma-console", "POST /")}
# Nobody else's thing can be named in these: they are about the caller's own account, or for operators alone.
OWN = {
    ("toolboxes-user", "POST /upgrade-shims"), ("toolboxes-user", "GET /upgrade-shims"),
    ("toolboxes-user", "GET /orphan-droplets"),
    ("toolboxes-user", "GET /"), ("toolboxes-user", "POST /"), ("toolboxes-user", "GET /registries"),
    ("toolboxes-user", "PUT /registries/<host>"), ("toolboxes-user", "DELETE /registries/<host>"),
}  # fmt: skip


VICTIMS, NONE = {"toolbox": TOOLBOX, "host": HOST}, {"toolbox": NOWHERE, "host": NO_HOST}


@dataclass(frozen=True)
class Shape:
    """A request. `place`: what it names."""

    method: str
    path: str
    body: Any
    place: dict[str, str]


@dataclass(frozen=True)
class Walked:
    """One question in two shapes: about what is the other account's, and about what is nowhere."""

    function: str
    shape: str
    theirs: Shape
    nothing: Shape


@pytest.fixture
def instance(world: World) -> Instance:
    """The victim's, on TOOLBOX; the other account has a toolbox and an instance too."""
    world.add_toolbox(THEIRS, account=OTHER_CALLER.account)
    victims = world.deploy(replace(new("server"), secrets={"KEY": "planted-value"}))
    world.droplet.die(victims.container_name, exit_code=3)
    toolbox_inspect.inspect(world.deps, TOOLBOX)
    # Only now: this world's two toolboxes share one droplet.
    deploy(world.deps, OTHER_CALLER, THEIRS, new("own"))
    registries.put(world.deps, CALLER, HOST, "planted-user", "planted-password")
    return victims


@pytest.fixture
def other_account(apps: dict[str, Flask], issuer: Issuer) -> Caller:
    return Caller(apps, issuer.token(OTHER_CALLER.account))


def routes(apps: dict[str, Flask]) -> Iterator[tuple[str, Route]]:
    """Every one that Flask serves, as it is described."""
    for function, app in apps.items():
        described = {route.endpoint: route for route in openapi.FUNCTIONS[function]}
        yield from ((function, described[rule.endpoint]) for rule in app.url_map.iter_rules())


def walk(apps: dict[str, Flask], instance: Instance) -> Iterator[Walked]:
    """Each route about an instance or toolbox: by id, by name, and on the other account's toolbox."""
    for function, route in routes(apps):
        if route.proof is not Proof.ACCOUNT or (function, route.endpoint) in OWN:
            continue
        for body in bodies(function, route):
            shape = f"{route.method} {route.path}{QUERIES.get(route.endpoint, '')}", body
            yield _walked(function, shape, {**VICTIMS, "instance": instance.id}, {**NONE, "instance": NOBODY})
            yield _walked(function, shape, {**VICTIMS, "instance": instance.name}, {**NONE, "instance": "nobody"})
            if "<instance>" in json.dumps(shape):
                own = {**VICTIMS, "toolbox": THEIRS}
                yield _walked(function, shape, {**own, "instance": instance.id}, {**own, "instance": NOBODY})


def bodies(function: str, route: Route) -> list[Any]:
    if (function, route.endpoint) not in ABOUT_THEIR_BODY:
        return [BODIES.get(route.endpoint)]
    assert route.body
    named = route.body.model_json_schema()["properties"]
    actions = named["action"].get("enum") or named["action"]["anyOf"][0]["enum"]
    also = {"instanceId": "<instance>"} if "instanceId" in named else {}
    return [{"toolboxId": "<toolbox>"}, *({"toolboxId": "<toolbox>", "action": action, **also} for action in actions)]


def _walked(function: str, shape: tuple[str, Any], theirs: dict[str, str], nothing: dict[str, str]) -> Walked:
    return Walked(function, f"{function} {shape}", filled(shape, theirs), filled(shape, nothing))


def filled(shape: tuple[str, Any], place: dict[str, str]) -> Shape:
    text = json.dumps(shape)
    for name, value in place.items():
        text = text.replace(f"<{name}>", value)
    assert not re.search(r"<\w+>", text), f"{text}: what it names is to be known here"
    (method, _, path), body = json.loads(text)[0].partition(" "), json.loads(text)[1]
    return Shape(method, path, body, place)


def send(caller: Caller, function: str, shape: Shape) -> tuple[Any, ...]:
    """Everything that the answer reveals, without the ids that were sent and the request's own id."""
    answer = caller(shape.method, function, shape.path, **({} if shape.body is None else {"json": shape.body}))
    text = re.sub(r'"request_id":"[0-9a-f]+"', "", answer.text.replace('": "', '":"'))
    for name, value in shape.place.items():
        text = text.replace(value, name)
    headers = [(name, value) for name, value in answer.headers if name not in ("X-Request-Id", "Content-Length")]
    return answer.status_code, text, headers


def stored(world: World) -> list[Any]:
    return [
        world.documents(name)
        for name in (TOOLBOXES, INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, REQUESTS, REGISTRIES)
    ]


def test_every_route_of_an_account_is_walked_or_about_its_own(apps: dict[str, Flask]) -> None:
    assert set(apps) == set(openapi.FUNCTIONS)
    for function, route in routes(apps):
        known = OWN | ABOUT_THEIR_BODY
        named = "<" in route.path or (function, route.endpoint) in known
        assert route.proof is not Proof.ACCOUNT or named, f"{function} {route.endpoint} is walked by no test"


def test_another_accounts_thing_answers_exactly_as_a_missing_one(
    world: World, apps: dict[str, Flask], other_account: Caller, instance: Instance
) -> None:
    before, calls, walked = stored(world), len(world.droplet.calls), 0
    for walked_route in walk(apps, instance):
        # Within the rate limit.
        world.pass_time(1)
        theirs = send(other_account, walked_route.function, walked_route.theirs)
        nothing = send(other_account, walked_route.function, walked_route.nothing)
        assert theirs[0] == 404, (walked_route.shape, theirs)
        assert theirs == nothing, walked_route.shape
        walked += 1
    assert walked > 50
    assert (stored(world), len(world.droplet.calls)) == (before, calls)


def test_an_accounts_answers_contain_nothing_of_another_account(
    world: World, other_account: Caller, instance: Instance
) -> None:
    """Its own lists, and what the others' references would be good for."""
    body = {**BODIES["POST /<toolbox>/tools"], **SAME_NAME}
    answers = [
        other_account("GET", "toolboxes-user", "/"),
        other_account("GET", "toolboxes-user", "/registries"),
        other_account("GET", "toolboxes-user", f"/{THEIRS}/events"),
        other_account("GET", "toolbox-tools", f"/{THEIRS}/tools"),
        other_account("GET", "toolbox-tools", f"/{THEIRS}/tools/own/events"),
        # The same name and host port are free on another toolbox.
        other_account("POST", "toolbox-tools", f"/{THEIRS}/tools", json=body),
    ]
    assert [answer.status_code for answer in answers] == [200] * 5 + [201]
    shown = "".join(answer.text for answer in answers)
    for reference in (TOOLBOX, instance.id, CALLER.account, "planted"):
        assert reference not in shown


def test_a_key_of_one_account_answers_no_other(call: Caller, other_account: Caller, instance: Instance) -> None:
    key = {"Idempotency-Key": "same"}
    ours = call("POST", "toolbox-tools", f"/{TOOLBOX}/tools/server/stop", headers=key)
    theirs = other_account("POST", "toolbox-tools", f"/{TOOLBOX}/tools/server/stop", headers=key)
    assert (ours.status_code, theirs.status_code) == (200, 404)


def test_a_place_in_one_accounts_list_opens_no_other(call: Caller, other_account: Caller, instance: Instance) -> None:
    page = call("GET", "toolbox-tools", f"/{TOOLBOX}/tools?limit=1")
    cursor = page.headers["Link"].partition("cursor=")[2].partition(">")[0]
    assert other_account("GET", "toolbox-tools", f"/{TOOLBOX}/tools?cursor={cursor}").status_code == 404
    shown = other_account("GET", "toolbox-tools", f"/{THEIRS}/tools?cursor={cursor}").text
    assert instance.id not in shown


def test_a_deleted_instances_history_is_its_accounts_alone(
    world: World, call: Caller, other_account: Caller, instance: Instance
) -> None:
    world.delete(instance.id)
    for kind in ("events", "post-mortems"):
        path = f"/{TOOLBOX}/tools/{instance.id}/{kind}"
        assert call("GET", "toolbox-tools", path).status_code == 200
        assert other_account("GET", "toolbox-tools", path).status_code == 404


def test_an_admin_sees_each_of_them(apps: dict[str, Flask], issuer: Issuer, instance: Instance) -> None:
    admin = Caller(apps, issuer.token("operator", app_metadata={"role": "admin"}))
    assert {record["id"] for record in admin("GET", "toolboxes-user", "/").json} == {TOOLBOX, THEIRS}
    assert admin("GET", "toolbox-tools", f"/{TOOLBOX}/tools/server").json["id"] == instance.id
