"""An error that nobody expected ends a pass and not the work: it is on record, in the log, and repeated with pauses."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.errors import ToolboxRefused, Unavailable
from functions.domain.instance.model import InstanceStatus
from functions.lifecycle.dependencies import Task
from functions.lifecycle.reconcile import driver
from functions.lifecycle.reconcile.instance import run
from functions.lifecycle.reconcile.tasks import run_task
from shim.contract import messages, routes
from shim.contract.routes import Route
from tests.fakes.droplet import Fault
from tests.fakes.fleet import FleetWorld
from tests.fakes.mcp_server import Server
from tests.fakes.world import TOOLBOX, World, new
from tests.lifecycle.instance.test_mcp_probe import with_mcp

pytestmark = pytest.mark.internal_error


class Bug(Exception):
    """What no code expects."""


def fail_at(route: Route) -> object:
    def fail(called: Route, name: str) -> None:
        if called is route:
            raise Bug("planted-in-a-message")

    return fail


def test_a_bug_is_an_obstacle_with_back_off_and_a_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.droplet.before_command = fail_at(routes.START)  # type: ignore[assignment]
    instance = world.deploy(new())
    assert not instance.settled and instance.status is not InstanceStatus.RUNNING
    assert instance.observed.obstacle and instance.observed.obstacle.code == "internal-error"
    assert "planted" not in instance.observed.obstacle.message
    assert (instance.lease, instance.attempts) == (None, 1)
    assert instance.due_at and timedelta(0) < instance.due_at - world.time <= driver.BACKOFF_FIRST
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info and record.exc_info[0] is Bug and record.instance == instance.id  # type: ignore[attr-defined]


def test_a_bug_that_stays_is_repeated_with_growing_pauses_and_ends_with_its_cause(world: World) -> None:
    world.droplet.before_command = fail_at(routes.START)  # type: ignore[assignment]
    instance = world.deploy(new())
    for attempt in range(2, 12):
        world.pass_time(3_600)
        run(world.deps, instance.id)
        assert world.stored(instance).attempts == attempt
    due_at = world.stored(instance).due_at
    assert due_at and due_at - world.time >= driver.BACKOFF_LAST / 2
    world.droplet.before_command = None
    world.sweep(3_600)
    after = world.stored(instance)
    assert (after.status, after.settled, after.observed.obstacle) == (InstanceStatus.RUNNING, True, None)


def test_after_a_bug_nothing_is_done_before_what_was_sent_can_no_longer_start(world: World) -> None:
    world.droplet.before_command = fail_at(routes.START)  # type: ignore[assignment]
    instance = world.deploy(new())
    assert instance.observed.needs_inspection
    assert instance.observed.in_flight_until and instance.observed.in_flight_until > world.time


def test_a_bug_of_a_toolboxes_pass_is_an_obstacle_of_the_toolbox() -> None:
    world = FleetWorld()
    toolbox = world.provision()

    def fail(*_: object, **__: object) -> None:
        raise Bug

    world.deps = replace(world.deps, droplets=type("Broken", (), {"__getattr__": lambda *_: fail})())
    run_task(world.deps, Task("toolbox", toolbox.id))
    found = world.toolbox(toolbox)
    assert found.obstacle and found.obstacle.code == "internal-error"
    assert found.due_at and found.due_at > world.time and found.lease is None


def test_the_stores_unavailability_is_no_internal_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def lose(writes: object) -> None:
        raise Unavailable("the store did not answer")

    def lose_from_now_on(route: Route, name: str) -> None:
        world.store.before_commit = lose

    world.droplet.before_command = lose_from_now_on
    with pytest.raises(Unavailable):
        world.deploy(new())
    assert "internal" not in caplog.text and "unexpected" not in caplog.text


def test_an_error_that_cannot_be_recorded_leaves_the_document_due(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    commits: list[object] = []

    def fail(writes: object) -> None:
        commits.append(writes)
        if len(commits) > 1:
            raise Bug

    world.store.before_commit = fail
    instance = world.deploy(new())
    assert not instance.settled and instance.due_at
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
    world.store.before_commit = lambda writes: None
    world.sweep(120)
    assert world.stored(instance).status is InstanceStatus.RUNNING


@pytest.mark.parametrize("body", ["[" * 200_000, '{"id": 0, "result": {"protocolVersion": 1' + "0" * 30 + "}}"])
def test_a_hostile_container_is_not_ready_and_no_internal_error(world: World, body: str) -> None:
    world.droplet.mcp = lambda request: messages.Response(200, {}, body, truncated=False)
    instance = world.deploy(with_mcp())
    assert instance.observed.obstacle and instance.observed.obstacle.code == "not-ready"
    world.droplet.mcp = Server(["a"])
    world.sweep()
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_a_shim_that_lies_does_not_fail_the_task(world: World) -> None:
    world.droplet.faults.append(Fault(ToolboxRefused("10**30"), routes.STATUS))
    run_task(world.deps, Task("toolbox", TOOLBOX))
