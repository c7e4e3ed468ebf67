"""`converge` and `sweep`, as the platform calls them."""

import base64
import json
from collections.abc import Mapping

import pytest
from flask import Flask

from functions.domain.errors import Unavailable
from functions.lifecycle.dependencies import Task
from functions.lifecycle.instance.read import get
from functions.lifecycle.reconcile import instance as instance_pass
from tests.fakes.issuer import Issuer
from tests.fakes.world import CALLER, TOOLBOX, World, new
from tests.web.conftest import SERVICE, SERVICE_AUDIENCE, Caller

PULLED = "registry.test/other:2"


@pytest.fixture
def platform(apps: dict[str, Flask], issuer: Issuer) -> Caller:
    return Caller(apps, issuer.token("platform", aud=SERVICE_AUDIENCE, email=SERVICE, email_verified=True))


def pushed(task: Mapping[str, object]) -> dict[str, object]:
    data = base64.b64encode(json.dumps(task).encode()).decode()
    return {"message": {"data": data, "messageId": "1", "publishTime": "…", "attributes": {}}, "subscription": "s"}


def test_a_pushed_task_is_converged_and_acknowledged(world: World, platform: Caller) -> None:
    world.droplet.registry[PULLED] = None
    instance = world.deploy(new(image=PULLED))
    answer = platform("POST", "converge", "/", json=pushed({"kind": "instance", "id": instance.id}))
    assert answer.status_code == 204
    assert get(world.deps, CALLER, TOOLBOX, instance.id).status == "running"


def test_a_pushed_batch_of_toolboxes_is_inspected(world: World, platform: Caller) -> None:
    task = Task("toolboxes", ids=(TOOLBOX, "22222222-1111-4111-8111-111111111111"))
    assert platform("POST", "converge", "/", json=pushed(task.message())).status_code == 204
    assert set(world.droplet.calls) == {"GET /status"}


@pytest.mark.parametrize("data", ["", "!!", base64.b64encode(b'{"kind": "planet", "id": "1"}').decode()])
def test_a_message_without_a_task_is_refused(platform: Caller, data: str) -> None:
    assert platform("POST", "converge", "/", json={"message": {"data": data}}).status_code == 400


def test_a_sweep_publishes_what_is_due(world: World, platform: Caller) -> None:
    # Not one of those that also have the droplets listed.
    world.pass_time(60)
    world.droplet.reachable = False
    instance = world.deploy()
    assert platform("POST", "sweep", "/").json == {"published": 1}
    assert world.queue.tasks == [Task("toolboxes", ids=(TOOLBOX,))]
    world.pass_time(60)
    assert platform("POST", "sweep", "/").json == {"published": 2}
    assert world.queue.tasks[1:] == [Task("instance", instance.id), Task("toolboxes", ids=(TOOLBOX,))]


@pytest.mark.internal_error
def test_a_task_that_fails_unexpectedly_is_acknowledged_and_logged(
    world: World, platform: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("planted")

    monkeypatch.setattr(instance_pass, "run", fail)
    assert platform("POST", "converge", "/", json=pushed({"kind": "instance", "id": "i"})).status_code == 204
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info and record.exc_info[0] is RecursionError


def test_a_task_is_pushed_again_where_the_store_is_unavailable(world: World, platform: Caller) -> None:
    instance = world.deploy(new(image=PULLED))

    def lose(writes: object) -> None:
        raise Unavailable("the store did not answer")

    world.store.before_commit = lose
    answer = platform("POST", "converge", "/", json=pushed({"kind": "instance", "id": instance.id}))
    assert answer.status_code == 503
