"""Other shims: on one toolbox, and on all of them up to the first that fails."""

from __future__ import annotations

import pytest

from functions.domain.errors import NotAllowedNow, NotFound
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.rollout import rollouts
from functions.lifecycle.toolbox.change import rebuild, upgrade_shim
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.droplet import Fault
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import ADMIN, CALLER

OTHER = f"registry.test/shim@sha256:{'1' * 64}"


@pytest.fixture
def world() -> FleetWorld:
    return FleetWorld()


def upgradable(world: FleetWorld, count: int = 1) -> list[Toolbox]:
    made = [world.active() for _ in range(count)]
    for droplet in world.fleet.booted.values():
        droplet.registry[OTHER] = None
    return sorted(made, key=lambda toolbox: toolbox.id)


def shims(world: FleetWorld) -> list[str | None]:
    return [droplet.shim_image for droplet in world.fleet.booted.values()]


def test_a_shim_is_pulled_told_to_give_way_and_awaited(world: FleetWorld) -> None:
    [toolbox] = upgradable(world)
    asked = world.asked(toolbox, upgrade_shim, OTHER)
    assert (asked.status, asked.settled) == ("active", False)
    world.deliver()
    after = world.toolbox(toolbox)
    assert (after.shim_image, after.upgrade, after.settled, after.error) == (OTHER, None, True, None)
    assert world.toolbox_events(toolbox)[-1][0] == "shim_upgraded"


def test_one_that_does_not_serve_is_given_up_and_the_toolbox_goes_on(world: FleetWorld) -> None:
    [toolbox] = upgradable(world)
    [droplet] = world.fleet.booted.values()
    droplet.broken.add(OTHER)
    world.asked(toolbox, upgrade_shim, OTHER)
    for _ in range(5):
        world.sweep()
    after = world.toolbox(toolbox)
    assert (after.status, after.settled, after.upgrade) == ("active", True, None)
    assert after.failure_reason
    assert after.failure_reason.code == "upgrade-failed"
    assert "shim_upgrade_failed" in [kind for kind, _, _ in world.toolbox_events(toolbox)]
    droplet.broken.clear()
    world.asked(toolbox, upgrade_shim, OTHER)
    world.deliver()
    assert world.toolbox(toolbox).error is None


def test_an_image_that_no_registry_has_is_given_up_at_once(world: FleetWorld) -> None:
    toolbox = world.active()
    world.asked(toolbox, upgrade_shim, OTHER)
    world.deliver()
    assert "manifest unknown" in str(world.toolbox(toolbox).error)


@pytest.mark.parametrize("route", [routes.PULL, routes.UPGRADE, routes.STATUS])
def test_a_passing_obstacle_costs_time_and_nothing_else(world: FleetWorld, route: routes.Route) -> None:
    [toolbox] = upgradable(world)
    [droplet] = world.fleet.booted.values()
    droplet.faults += [
        Fault(shim_errors.EngineUnavailable("busy"), route),
        Fault(shim_errors.OutcomeUnknown("late"), route),
    ]
    world.asked(toolbox, upgrade_shim, OTHER)
    for _ in range(4):
        world.sweep()
    assert (world.toolbox(toolbox).shim_image, world.toolbox(toolbox).settled) == (OTHER, True)


def test_all_are_upgraded_three_at_a_time(world: FleetWorld) -> None:
    upgradable(world, 5)
    rollouts.start(world.deps, ADMIN, OTHER)
    world.deliver()
    assert len(rollouts.get(world.deps, ADMIN, OTHER).running) == 3
    for _ in range(4):
        world.sweep()
    ended = rollouts.get(world.deps, ADMIN, OTHER)
    assert (ended.stage, ended.upgraded, ended.skipped, ended.due_at) == ("done", 5, 0, None)
    assert shims(world) == [OTHER] * 5


def test_the_first_failure_stops_it_and_later_ones_are_left_alone(world: FleetWorld) -> None:
    toolboxes = upgradable(world, 7)
    world.fleet.booted[toolboxes[1].address or ""].broken.add(OTHER)
    rollouts.start(world.deps, ADMIN, OTHER)
    for _ in range(10):
        world.sweep()
    ended = rollouts.get(world.deps, ADMIN, OTHER)
    assert (ended.stage, ended.failed) == ("failed", toolboxes[1].id)
    assert ended.reason
    upgraded = sum(image == OTHER for image in shims(world))
    assert upgraded < 6
    world.fleet.booted[toolboxes[1].address or ""].broken.clear()
    rollouts.start(world.deps, ADMIN, OTHER)
    for _ in range(6):
        world.sweep()
    assert rollouts.get(world.deps, ADMIN, OTHER).stage == "done"
    assert shims(world) == [OTHER] * 7


def test_one_that_cannot_be_asked_is_skipped(world: FleetWorld) -> None:
    toolboxes = upgradable(world, 2)
    world.asked(toolboxes[0], rebuild)
    rollouts.start(world.deps, ADMIN, OTHER)
    for task in list(world.queue.tasks):
        if task.kind == "rollout":
            rollouts.run(world.deps, task.id)
    assert rollouts.get(world.deps, ADMIN, OTHER).running == [toolboxes[1].id]


def test_asked_twice_it_is_one_rollout(world: FleetWorld) -> None:
    [toolbox] = upgradable(world)
    first = rollouts.start(world.deps, ADMIN, OTHER)
    world.deliver()
    assert rollouts.start(world.deps, ADMIN, OTHER).started_at == first.started_at
    for _ in range(3):
        world.sweep()
    assert world.toolbox(toolbox).generation == 2


def test_only_an_operator_may(world: FleetWorld) -> None:
    with pytest.raises(NotFound):
        rollouts.start(world.deps, CALLER, OTHER)
    with pytest.raises(NotFound):
        rollouts.get(world.deps, CALLER, OTHER)


def test_a_toolbox_that_is_not_as_asked_for_is_not_upgraded(world: FleetWorld) -> None:
    toolbox = world.active()
    world.asked(toolbox, rebuild)
    with pytest.raises(NotAllowedNow):
        world.asked(toolbox, upgrade_shim, OTHER)
