"""Sweeps inspect each droplet: drift is repaired, and a lost contact changes the status of the toolbox."""

from dataclasses import replace

import pytest

from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import read as instance_read
from functions.lifecycle.repository import TOOLBOXES, toolbox_ref
from functions.lifecycle.toolbox.inspect import INSPECT_EVERY, ORPHAN_GRACE, inspect
from shim.contract import errors as shim_errors
from shim.contract import messages, names, routes
from tests.fakes.droplet import Fault
from tests.fakes.stored import decode
from tests.fakes.world import CALLER, TOOLBOX, World, new


def toolbox(world: World) -> Toolbox:
    loaded = decode(Toolbox, world.store.get([toolbox_ref(TOOLBOX)])[0])
    assert loaded
    return loaded.value


def toolbox_events(world: World) -> list[object]:
    found = world.store.query(Query(f"{TOOLBOXES}/{TOOLBOX}/events", order_by="time"))
    return [event.data["type"] for event in found]


def event_types(world: World, instance: object) -> list[object]:
    return [event_type for event_type, _, _ in world.events(instance)]  # type: ignore[arg-type]


def test_container_removed_by_hand_is_created_again_with_an_event(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    world.droplet.containers.clear()
    world.sweep()
    assert world.droplet.running() == [instance.container_name]
    assert world.stored(instance).status is InstanceStatus.RUNNING
    assert world.events(instance)[2:] == [("container_lost", "running", "running")]


def test_container_that_died_runs_again_with_an_event_and_a_post_mortem(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    world.droplet.die(instance.container_name, exit_code=137, oom=True)
    world.sweep()
    assert world.droplet.running() == [instance.container_name]
    assert "crashed" in event_types(world, instance)
    [post_mortem] = world.documents(f"account_tool_instances/{instance.id}/post_mortems")
    assert post_mortem["logs"] == ["2026-01-01T00:00:00.000000001Z stdout ready"]
    assert post_mortem["container"]["oom_killed"] is True  # type: ignore[index]


def test_status_equal_to_an_earlier_one_is_still_inspected(world: World) -> None:
    stopped = world.deploy(new("stopped"))
    world.stop(stopped.id)
    world.sweep()
    world.sweep()
    world.start(stopped.id)
    world.droplet.die(stopped.container_name)
    world.droplet.containers[stopped.container_name] = replace(
        world.droplet.containers[stopped.container_name], endpoint_id=""
    )
    removed = world.deploy(new("removed"))
    del world.droplet.containers[removed.container_name]
    world.sweep()
    assert sorted(world.droplet.running()) == sorted([stopped.container_name, removed.container_name])


def test_requested_stop_is_not_recorded_as_a_crash(world: World) -> None:
    instance = world.deploy()
    world.stop(instance.id)
    world.sweep()
    assert "crashed" not in event_types(world, instance)
    assert world.droplet.running() == []


def edit_limits(world: World, instance: Instance) -> messages.Limits:
    """Change the limits on the droplet by hand; return the limits from before."""
    container = world.droplet.containers[instance.container_name]
    changed = replace(container, limits=replace(container.limits, pids=9))
    world.droplet.containers[instance.container_name] = changed
    return container.limits


def test_limits_edited_by_hand_are_restored_at_the_next_sweep(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    original_limits = edit_limits(world, instance)
    world.droplet.edited = {container.id for container in world.droplet.containers.values()}
    world.sweep()
    assert world.droplet.containers[instance.container_name].limits == original_limits
    assert world.droplet.running() == [instance.container_name]


def test_limits_edit_the_engine_does_not_report_is_restored_within_an_hour(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    original_limits = edit_limits(world, instance)
    world.sweep()
    assert world.droplet.containers[instance.container_name].limits.pids == 9
    world.sweep(INSPECT_EVERY.total_seconds())
    assert world.droplet.containers[instance.container_name].limits == original_limits


def test_limits_edit_of_a_stopped_instance_is_restored_at_its_start(world: World) -> None:
    instance = world.deploy()
    world.stop(instance.id)
    original_limits = edit_limits(world, instance)
    world.droplet.edited = {container.id for container in world.droplet.containers.values()}
    world.sweep()
    world.sweep()
    calls = len(world.droplet.calls)
    world.sweep()
    assert world.droplet.calls[calls:] == ["GET /status"]
    world.start(instance.id)
    assert world.droplet.containers[instance.container_name].limits == original_limits


def test_unchanged_droplet_writes_only_a_heartbeat_every_four_minutes(world: World) -> None:
    world.deploy()
    world.sweep()
    writes: list[object] = []
    world.store.before_commit = writes.extend
    for _ in range(8):
        world.sweep()
    assert len(writes) == 2
    assert {write.ref.collection for write in writes} == {TOOLBOXES}  # type: ignore[attr-defined]


def test_unreachable_toolbox_is_unresponsive_until_it_answers_again(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    observed_at, heartbeat_at = world.stored(instance).observed.at, toolbox(world).last_heartbeat_at
    world.droplet.reachable = False
    world.sweep()
    world.sweep()
    assert toolbox(world).status == "unresponsive"
    assert toolbox(world).last_heartbeat_at == heartbeat_at
    shown = instance_read.get(world.deps, CALLER, TOOLBOX, instance.id)
    assert (shown.status, shown.observed.at, shown.observed.reachable) == (InstanceStatus.RUNNING, observed_at, False)
    [listed] = instance_read.page(world.deps, CALLER, TOOLBOX, 9, None).records
    assert listed.observed.reachable is False
    world.droplet.die(instance.container_name)
    world.droplet.reachable = True
    world.sweep()
    assert toolbox(world).status == "active"
    assert instance_read.get(world.deps, CALLER, TOOLBOX, instance.id).observed.reachable
    assert toolbox_events(world) == ["status_changed", "status_changed"]
    assert "crashed" in event_types(world, instance)


def test_instances_are_deployed_again_on_a_new_engine(world: World) -> None:
    instances = [world.deploy(new(f"server-{number}")) for number in range(3)]
    world.sweep()
    world.droplet.containers.clear()
    world.droplet.engine_id = "engine-2"
    world.sweep()
    assert sorted(world.droplet.running()) == sorted(instance.container_name for instance in instances)
    assert toolbox(world).engine_id == "engine-2"
    assert "engine_changed" in toolbox_events(world)


def test_incomplete_status_changes_nothing(world: World) -> None:
    instance = world.deploy()
    world.sweep()
    started_at = world.droplet.containers[instance.container_name].started_at
    calls = len(world.droplet.calls)
    world.droplet.partial = True
    world.sweep()
    assert world.droplet.containers[instance.container_name].started_at == started_at
    assert {call.split("?")[0] for call in world.droplet.calls[calls:]} == {"GET /status"}


def test_status_is_not_recorded_while_a_difference_is_not_inspected(world: World) -> None:
    """The toolbox's ETag is saved only when every difference in the status was inspected."""
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


def test_orphan_container_is_reported_then_stopped_and_never_removed(world: World) -> None:
    instance = world.deploy()
    orphan_id = "44444444-4444-4444-8444-444444444444"
    orphan_name = names.container_name(orphan_id, 1)
    container = world.droplet.containers[instance.container_name]
    world.droplet.containers[orphan_name] = replace(container, id="f" * 64, name=orphan_name, instance_id=orphan_id)
    world.sweep()
    assert list(toolbox(world).orphans) == [orphan_name]
    assert toolbox_events(world).count("orphan_container_found") == 1
    world.sweep()
    assert orphan_name in world.droplet.running()
    world.sweep(ORPHAN_GRACE.total_seconds())
    assert world.droplet.containers[orphan_name].state == "exited"
    world.sweep()
    assert toolbox_events(world).count("orphan_container_found") == 1
    assert world.droplet.running() == [instance.container_name]


def test_container_of_a_deleted_instance_is_removed_without_events(world: World) -> None:
    instance = world.deploy()
    container = world.droplet.containers[instance.container_name]
    world.delete(instance.id)
    events = world.events(instance)
    world.droplet.containers[container.name] = container
    world.sweep()
    assert world.droplet.containers == {}
    assert world.events(instance) == events


def test_five_restarts_within_ten_minutes_stop_the_instance(world: World) -> None:
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


def test_restarts_five_minutes_apart_are_not_a_crash_loop(world: World) -> None:
    instance = world.deploy()
    for _ in range(8):
        world.droplet.crash(instance.container_name, restarts=1, state="running")
        world.sweep(300)
    assert world.stored(instance).status is InstanceStatus.RUNNING
    assert event_types(world, instance).count("crashed") == 8


def test_finished_job_runs_again_only_on_request(world: World) -> None:
    wanted = new("job")
    instance = world.deploy(replace(wanted, spec=replace(wanted.spec, restart_policy="no")))
    world.droplet.die(instance.container_name, exit_code=0)
    world.sweep()
    world.sweep()
    assert world.droplet.running() == []
    assert world.stored(instance).status is InstanceStatus.STOPPED
    assert world.start(instance.id).status is InstanceStatus.RUNNING


def test_failed_status_command_changes_nothing(world: World) -> None:
    world.deploy()
    world.sweep()
    before = toolbox(world)
    world.droplet.faults.append(Fault(shim_errors.EngineUnavailable("no engine"), routes.STATUS))
    world.sweep()
    assert toolbox(world) == before


@pytest.mark.parametrize("times", [1, 3])
def test_repeated_sweeps_send_one_status_command_each(world: World, times: int) -> None:
    instance = world.deploy()
    for _ in range(times):
        world.sweep()
    calls = len(world.droplet.calls)
    world.sweep()
    assert world.droplet.calls[calls:] == ["GET /status"]
    assert len(world.events(instance)) == 2
