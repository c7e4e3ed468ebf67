"""`converge` and `sweep`, as the platform calls them."""

import base64
import json

import pytest
from flask import Flask

from functions.lifecycle.instance.read import get
from tests.fakes.issuer import Issuer
from tests.fakes.world import CALLER, TOOLBOX, World, new
from tests.web.conftest import SERVICE, SERVICE_AUDIENCE, Caller

PULLED = "registry.test/other:2"


@pytest.fixture
def platform(apps: dict[str, Flask], issuer: Issuer) -> Caller:
    return Caller(apps, issuer.token("platform", aud=SERVICE_AUDIENCE, email=SERVICE, email_verified=True))


def pushed(task: dict[str, str]) -> dict[str, object]:
    data = base64.b64encode(json.dumps(task).encode()).decode()
    return {"message": {"data": data, "messageId": "1", "publishTime": "…", "attributes": {}}, "subscription": "s"}


def test_a_pushed_task_is_converged_and_acknowledged(world: World, platform: Caller) -> None:
    world.droplet.registry[PULLED] = None
    instance = world.deploy(new(image=PULLED))
    answer = platform("POST", "converge", "/", json=pushed({"kind": "instance", "id": instance.id}))
    assert answer.status_code == 204
    assert get(world.deps, CALLER, TOOLBOX, instance.id).status == "running"


@pytest.mark.parametrize("data", ["", "!!", base64.b64encode(b'{"kind": "planet", "id": "1"}').decode()])
def test_a_message_without_a_task_is_refused(platform: Caller, data: str) -> None:
    assert platform("POST", "converge", "/", json={"message": {"data": data}}).status_code == 400


def test_a_sweep_publishes_what_is_due(world: World, platform: Caller) -> None:
    # Not one of those that also have the droplets listed.
    world.pass_time(60)
    world.droplet.reachable = False
    instance = world.deploy()
    assert platform("POST", "sweep", "/").json == {"published": 1}
    assert [task.id for task in world.queue.tasks] == [TOOLBOX]
    world.pass_time(60)
    assert platform("POST", "sweep", "/").json == {"published": 2}
    assert [task.id for task in world.queue.tasks] == [TOOLBOX, instance.id, TOOLBOX]
