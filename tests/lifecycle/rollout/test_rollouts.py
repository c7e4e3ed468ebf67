"""Shim upgrades: of one toolbox, and a rollout to all toolboxes that stops at the first failure."""

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

NEW_SHIM = f"registry.test/shim@sha256:{'1' * 64}"


def upgradable_toolboxes(world: FleetWorld, count: int = 1) -> list[Toolbox]:
    toolboxes = [world.active() for _ in range(count)]
    for droplet in world.fleet.booted.values():
        droplet.registry[NEW_SHIM] = None
    return sorted(toolboxes, key=lambda toolbox: toolbox.id)


def shim_images(world: FleetWorld) -> list[str | None]:
    return [droplet.shim_image for droplet in world.fleet.booted.values()]


def test_upgrade_replaces_the_shim_and_records_an_event(world: FleetWorld) -> None:
    [toolbox] = upgradable_toolboxes(world)
    requested = world.request(toolbox, upgrade_shim, NEW_SHIM)
    assert (requested.status, requested.settled) == ("active", False)
    world.deliver()
    upgraded = world.toolbox(toolbox)
    assert (upgraded.shim_image, upgraded.upgrade, upgraded.settled, upgraded.error) == (NEW_SHIM, None, True, None)
    assert world.toolbox_events(toolbox)[-1][0] == "shim_upgraded"


def test_upgrade_to_a_shim_that_does_not_serve_fails_and_can_be_repeated(world: FleetWorld) -> None:
    [toolbox] = upgradable_toolboxes(world)
    [droplet] = world.fleet.booted.values()
    droplet.failing_shim_images.add(NEW_SHIM)
    world.request(toolbox, upgrade_shim, NEW_SHIM)
    for _ in range(5):
        world.sweep()
    upgraded = world.toolbox(toolbox)
    assert (upgraded.status, upgraded.settled, upgraded.upgrade) == ("active", True, None)
    assert upgraded.failure_reason
    assert upgraded.failure_reason.code == "upgrade-failed"
    assert "shim_upgrade_failed" in [event_type for event_type, _, _ in world.toolbox_events(toolbox)]
    droplet.failing_shim_images.clear()
    world.request(toolbox, upgrade_shim, NEW_SHIM)
    world.deliver()
    assert world.toolbox(toolbox).error is None


def test_upgrade_to_an_unknown_image_fails_at_once(world: FleetWorld) -> None:
    toolbox = world.active()
    world.request(toolbox, upgrade_shim, NEW_SHIM)
    world.deliver()
    assert "manifest unknown" in str(world.toolbox(toolbox).error)


@pytest.mark.parametrize("route", [routes.PULL, routes.UPGRADE, routes.STATUS])
def test_upgrade_completes_after_temporary_failures(world: FleetWorld, route: routes.Route) -> None:
    [toolbox] = upgradable_toolboxes(world)
    [droplet] = world.fleet.booted.values()
    droplet.faults += [
        Fault(shim_errors.EngineUnavailable("busy"), route),
        Fault(shim_errors.OutcomeUnknown("late"), route),
    ]
    world.request(toolbox, upgrade_shim, NEW_SHIM)
    for _ in range(4):
        world.sweep()
    assert (world.toolbox(toolbox).shim_image, world.toolbox(toolbox).settled) == (NEW_SHIM, True)


def test_rollout_upgrades_all_toolboxes_three_at_a_time(world: FleetWorld) -> None:
    upgradable_toolboxes(world, 5)
    rollouts.start(world.deps, ADMIN, NEW_SHIM)
    world.deliver()
    assert len(rollouts.get(world.deps, ADMIN, NEW_SHIM).running) == 3
    for _ in range(4):
        world.sweep()
    rollout = rollouts.get(world.deps, ADMIN, NEW_SHIM)
    assert (rollout.stage, rollout.upgraded, rollout.skipped, rollout.due_at) == ("done", 5, 0, None)
    assert shim_images(world) == [NEW_SHIM] * 5


def test_rollout_stops_at_the_first_failure_and_can_be_started_again(world: FleetWorld) -> None:
    toolboxes = upgradable_toolboxes(world, 7)
    world.fleet.booted[toolboxes[1].address or ""].failing_shim_images.add(NEW_SHIM)
    rollouts.start(world.deps, ADMIN, NEW_SHIM)
    for _ in range(10):
        world.sweep()
    rollout = rollouts.get(world.deps, ADMIN, NEW_SHIM)
    assert (rollout.stage, rollout.failed) == ("failed", toolboxes[1].id)
    assert rollout.reason
    upgraded = sum(image == NEW_SHIM for image in shim_images(world))
    assert upgraded < 6
    world.fleet.booted[toolboxes[1].address or ""].failing_shim_images.clear()
    rollouts.start(world.deps, ADMIN, NEW_SHIM)
    for _ in range(6):
        world.sweep()
    assert rollouts.get(world.deps, ADMIN, NEW_SHIM).stage == "done"
    assert shim_images(world) == [NEW_SHIM] * 7


def test_rollout_skips_a_toolbox_that_cannot_be_upgraded(world: FleetWorld) -> None:
    toolboxes = upgradable_toolboxes(world, 2)
    world.request(toolboxes[0], rebuild)
    rollouts.start(world.deps, ADMIN, NEW_SHIM)
    for task in list(world.queue.tasks):
        if task.kind == "rollout":
            rollouts.run(world.deps, task.id)
    assert rollouts.get(world.deps, ADMIN, NEW_SHIM).running == [toolboxes[1].id]


def test_rollout_started_twice_runs_once(world: FleetWorld) -> None:
    [toolbox] = upgradable_toolboxes(world)
    first = rollouts.start(world.deps, ADMIN, NEW_SHIM)
    world.deliver()
    assert rollouts.start(world.deps, ADMIN, NEW_SHIM).started_at == first.started_at
    for _ in range(3):
        world.sweep()
    assert world.toolbox(toolbox).generation == 2


def test_rollout_is_for_operators_only(world: FleetWorld) -> None:
    with pytest.raises(NotFound):
        rollouts.start(world.deps, CALLER, NEW_SHIM)
    with pytest.raises(NotFound):
        rollouts.get(world.deps, CALLER, NEW_SHIM)


def test_upgrade_during_a_rebuild_is_refused(world: FleetWorld) -> None:
    toolbox = world.active()
    world.request(toolbox, rebuild)
    with pytest.raises(NotAllowedNow):
        world.request(toolbox, upgrade_shim, NEW_SHIM)
