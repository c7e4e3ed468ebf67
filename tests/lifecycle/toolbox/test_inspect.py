"""Drift and contact: what a sweep finds on a droplet, and what becomes of it."""

from dataclasses import replace

import pytest

from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import read as instance_read
from functions.lifecycle.repository import TOOLBOXES, decode, toolbox_ref
from functions.lifecycle.toolbox.inspect import INSPECT_EVERY, ORPHAN_GRACE, inspect
from shim.contract import errors as shim_errors
from shim.contract import messages, names, routes
from tests.fakes.droplet import Fault
from tests.fakes.world import CALLER, TOOLBOX, World, new


def toolbox(world: World) -> Toolbox:
    loaded = decode(Toolbox, world.store.get([toolbox_ref(TOOLBOX)])[0])
    assert loaded
    return loaded.value


def toolbox_events(world: World) -> list[object]:
    found = world.store.query(Query(f"{TOOLBOXES}/{TOOLBOX}/events", order_by="time"))
    return [event.data["type"] for event in found]


def types(world: World, instance: object) -> list[object]:
    return [kind for kind, _, _ in world.events(instance)]  # type: ignore[arg-type]


def test_a_container_removed_by_hand_returns_and_its_loss_is_told(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    world.droplet.containers.clear()
    world.sweep()
    assert world.droplet.running() == [instance.container_name]
    assert world.stored(instance).status is InstanceStatus.RUNNING
    assert world.events(instance)[2:] == [("container_lost", "running", "running")]


def test_a_container_stopped_by_hand_runs_again_and_its_end_is_told_and_kept(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    world.droplet.die(instance.container_name, exit_code=137, oom=True)
    world.sweep()
    assert world.droplet.running() == [instance.container_name]
    assert "crashed" in types(world, instance)
    [kept] = world.documents(f"account_tool_instances/{instance.id}/post_mortems")
    assert kept["logs"] == ["2026-01-01T00:00:00.000000001Z stdout ready"]
    assert kept["container"]["oom_killed"] is True  # type: ignore[index]


def test_a_droplet_that_has_become_again_what_it_was_is_looked_into(world: World) -> None:
    kept = world.deploy(new("kept"))
    world.stop(kept.id)
    world.sweep()
    world.sweep()
    world.start(kept.id)
    world.droplet.die(kept.container_name)
    world.droplet.containers[kept.container_name] = replace(
        world.droplet.containers[kept.container_name], endpoint_id=""
    )
    gone = world.deploy(new("gone"))
    del world.droplet.containers[gone.container_name]
    world.sweep()
    assert sorted(world.droplet.running()) == sorted([kept.container_name, gone.container_name])


def test_a_stop_that_was_asked_for_is_no_crash(world: World) -> None:
    instance = world.deploy()
    world.stop(instance.id)
    world.sweep()
    assert "crashed" not in types(world, instance)
    assert world.droplet.running() == []


def edit_limits(world: World, instance: Instance) -> messages.Limits:
    """By hand; returns those that it had."""
    container = world.droplet.containers[instance.container_name]
    changed = replace(container, limits=replace(container.limits, pids=9))
    world.droplet.containers[instance.container_name] = changed
    return container.limits


def test_limits_changed_by_hand_are_set_again(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    asked = edit_limits(world, instance)
    world.droplet.updated = {container.id for container in world.droplet.containers.values()}
    world.sweep()
    assert world.droplet.containers[instance.container_name].limits == asked
    assert world.droplet.running() == [instance.container_name]


def test_limits_changed_by_hand_are_found_within_the_hour_where_the_engine_has_forgotten_it(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    asked = edit_limits(world, instance)
    world.sweep()
    assert world.droplet.containers[instance.container_name].limits.pids == 9
    world.sweep(INSPECT_EVERY.total_seconds())
    assert world.droplet.containers[instance.container_name].limits == asked


def test_a_stopped_instance_whose_limits_were_changed_by_hand_is_left_until_it_starts(world: World) -> None:
    instance = world.deploy()
    world.stop(instance.id)
    asked = edit_limits(world, instance)
    world.droplet.updated = {container.id for container in world.droplet.containers.values()}
    world.sweep()
    world.sweep()
    calls = len(world.droplet.calls)
    world.sweep()
    assert world.droplet.calls[calls:] == ["GET /status"]
    world.start(instance.id)
    assert world.droplet.containers[instance.container_name].limits == asked


def test_an_unchanged_droplet_costs_no_write_but_a_heartbeat_every_four_minutes(world: World) -> None:
    world.deploy()
    world.sweep()
    writes: list[object] = []
    world.store.before_commit = writes.extend
    for _ in range(8):
        world.sweep()
    assert len(writes) == 2
    assert {write.ref.collection for write in writes} == {TOOLBOXES}  # type: ignore[attr-defined]


def test_a_toolbox_without_contact_is_unresponsive_and_active_again_by_itself(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    seen_at, heard_at = world.stored(instance).observed.at, toolbox(world).last_heartbeat_at
    world.droplet.reachable = False
    world.sweep()
    world.sweep()
    assert toolbox(world).status == "unresponsive"
    assert toolbox(world).last_heartbeat_at == heard_at
    shown = instance_read.get(world.deps, CALLER, TOOLBOX, instance.id)
    assert (shown.status, shown.observed.at, shown.observed.reachable) == (InstanceStatus.RUNNING, seen_at, False)
    assert [one.observed.reachable for one in instance_read.page(world.deps, CALLER, TOOLBOX, 9, None)] == [False]
    world.droplet.die(instance.container_name)
    world.droplet.reachable = True
    world.sweep()
    assert toolbox(world).status == "active"
    assert instance_read.get(world.deps, CALLER, TOOLBOX, instance.id).observed.reachable
    assert toolbox_events(world) == ["status_changed", "status_changed"]
    assert "crashed" in types(world, instance)


def test_another_engine_at_the_address_is_a_rebuilt_host_and_gets_its_instances_again(world: World) -> None:
    instance_read = [world.deploy(new(f"server-{number}")) for number in range(3)]
    world.sweep()
    world.droplet.containers.clear()
    world.droplet.engine_id = "engine-2"
    world.sweep()
    assert sorted(world.droplet.running()) == sorted(instance.container_name for instance in instance_read)
    assert toolbox(world).engine_id == "engine-2"
    assert "engine_changed" in toolbox_events(world)


def test_a_list_that_is_not_complete_proves_nothing(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    started_at = world.droplet.containers[instance.container_name].started_at
    calls = len(world.droplet.calls)
    world.droplet.partial = True
    world.sweep()
    assert world.droplet.containers[instance.container_name].started_at == started_at
    assert {call.split("?")[0] for call in world.droplet.calls[calls:]} == {"GET /status"}


def test_what_differs_while_its_instance_is_due_is_looked_at_once_it_is_not(world: World) -> None:
    """An engine's list is known only when all that differs in it was looked into."""
    instance = world.deploy()
    world.sweep()
    world.droplet.faults.append(Fault(shim_errors.EngineUnavailable("busy"), routes.STOP))
    world.stop(instance.id)
    world.droplet.containers.clear()
    assert not world.stored(instance).settled
    inspect(world.deps, TOOLBOX)
    assert toolbox(world).etag == ""
    world.sweep()
    world.sweep()
    assert toolbox(world).etag


def test_a_container_of_no_document_is_reported_kept_for_a_time_then_stopped_and_never_removed(world: World) -> None:
    instance = world.deploy()
    stray_id = "44444444-4444-4444-8444-444444444444"
    stray_name = names.container_name(stray_id, 1)
    known = world.droplet.containers[instance.container_name]
    world.droplet.containers[stray_name] = replace(known, id="f" * 64, name=stray_name, instance_id=stray_id)
    world.sweep()
    assert list(toolbox(world).orphans) == [stray_name]
    assert toolbox_events(world).count("stranger_found") == 1
    world.sweep()
    assert stray_name in world.droplet.running()
    world.sweep(ORPHAN_GRACE.total_seconds())
    assert world.droplet.containers[stray_name].state == "exited"
    world.sweep()
    assert toolbox_events(world).count("stranger_found") == 1
    assert world.droplet.running() == [instance.container_name]


def test_a_container_that_came_after_its_instance_was_deleted_is_deleted_too(world: World) -> None:
    instance = world.deploy()
    container = world.droplet.containers[instance.container_name]
    world.delete(instance.id)
    told = world.events(instance)
    world.droplet.containers[container.name] = container
    world.sweep()
    assert world.droplet.containers == {}
    assert world.events(instance) == told


def test_five_restarts_in_ten_minutes_are_a_crash_loop_and_end_it(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    world.droplet.crash(instance.container_name, restarts=5, exit_code=3)
    world.sweep()
    stored = world.stored(instance)
    assert (stored.status, stored.settled) == (InstanceStatus.ERROR_RUNTIME, True)
    assert stored.failure
    assert stored.failure.code == "crash-loop"
    assert "exit code 3" in stored.failure.message
    assert world.events(instance)[2:] == [
        ("crashed", "running", "error_runtime"),
        ("status_changed", "running", "error_runtime"),
    ]
    assert world.droplet.running() == []
    world.sweep()
    assert world.droplet.running() == []
    assert world.start(instance.id).status is InstanceStatus.RUNNING


def test_restarts_that_are_far_apart_are_no_crash_loop(world: World) -> None:
    instance = world.deploy()
    for _ in range(8):
        world.droplet.crash(instance.container_name, restarts=1, state="running")
        world.sweep(300)
    assert world.stored(instance).status is InstanceStatus.RUNNING
    assert types(world, instance).count("crashed") == 8


def test_a_job_that_has_run_is_not_run_again_unasked(world: World) -> None:
    wanted = new("job")
    instance = world.deploy(replace(wanted, spec=replace(wanted.spec, restart_policy="no")))
    world.droplet.die(instance.container_name, exit_code=0)
    world.sweep()
    world.sweep()
    assert world.droplet.running() == []
    assert world.stored(instance).status is InstanceStatus.STOPPED
    assert world.start(instance.id).status is InstanceStatus.RUNNING


def test_a_shim_that_refuses_its_list_changes_nothing(world: World) -> None:
    world.deploy()
    world.sweep()
    before = toolbox(world)
    world.droplet.faults.append(Fault(shim_errors.EngineUnavailable("no engine"), routes.STATUS))
    world.sweep()
    assert toolbox(world) == before


@pytest.mark.parametrize("times", [1, 3])
def test_looking_again_changes_nothing(world: World, times: int) -> None:
    instance = world.deploy()
    for _ in range(times):
        world.sweep()
    calls = len(world.droplet.calls)
    world.sweep()
    assert world.droplet.calls[calls:] == ["GET /status"]
    assert len(world.events(instance)) == 2
