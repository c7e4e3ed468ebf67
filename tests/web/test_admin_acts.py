"""Whatever an admin does to somebody's things is on record, with who did it: on every route that does anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from functions.domain.instance.model import Instance
from functions.lifecycle.dependencies import Query, Replace
from functions.lifecycle.repository import INSTANCES, TOOLBOXES, toolbox_ref
from functions.web import openapi
from functions.web.route import Proof, Route
from tests.fakes.issuer import Issuer
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller
from tests.web.test_tenancy import OWN, bodies, filled

# These ask, and change nothing that is desired.
LOOKS = {"POST /<toolbox>/refresh-status"}
LOOKING = {None, "logs", "status"}


def acts() -> list[Any]:
    found = []
    for function, routes in openapi.FUNCTIONS.items():
        for route in routes:
            if route.proof is not Proof.ACCOUNT or route.method == "GET" or (function, route.endpoint) in OWN:
                continue
            for body in bodies(function, route):
                action = body.get("action") if body and "toolboxId" in body else "it"
                if route.endpoint not in LOOKS and action not in LOOKING:
                    found.append(pytest.param(function, route, body, id=f"{function} {route.endpoint} {action}"))
    return found


@pytest.fixture
def instance(world: World) -> Instance:
    [toolbox] = world.store.get([toolbox_ref(TOOLBOX)])
    assert toolbox
    # The toolbox is settled; otherwise its shim cannot be upgraded.
    world.store.commit([Replace(toolbox.ref, {"observed_generation": toolbox.data["generation"]}, toolbox.version)])
    return world.deploy()


@pytest.mark.parametrize(("function", "route", "body"), acts())
def test_an_admins_act_is_an_event_with_its_subject(
    world: World, apps: dict[str, Flask], issuer: Issuer, instance: Instance, function: str, route: Route, body: Any
) -> None:
    operator = Caller(apps, issuer.token("operator", app_metadata={"role": "admin"}))
    shape = filled((f"{route.method} {route.path}", body), {"toolbox": TOOLBOX, "instance": instance.id})
    if shape.body and "instanceNameOnToolbox" in json.dumps(shape.body):
        world.delete(instance.id)
    answer = operator(shape.method, function, shape.path, **({} if shape.body is None else {"json": shape.body}))
    assert answer.status_code < 300, answer.text
    owners = [f"{TOOLBOXES}/{TOOLBOX}", *(f"{INSTANCES}/{instance['id']}" for instance in world.documents())]
    events = [event.data for owner in owners for event in world.store.query(Query(f"{owner}/events"))]
    assert "operator" in {event["actor"] for event in events}
