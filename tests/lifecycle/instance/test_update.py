"""PATCH: the previous version stays until the new version is proven."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from functions.domain.errors import NotAllowedNow, PortTaken
from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.instance.spec import Mcp
from functions.lifecycle.dependencies import Query, Write
from functions.lifecycle.repository import INSTANCES, PORT_RESERVATIONS
from shim.contract import errors as shim_errors
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.mcp_server import Server
from tests.fakes.stored import decode
from tests.fakes.world import World, new
from tests.lifecycle.updates import OTHER_IMAGE, patch


def test_new_version_replaces_the_previous_one_and_two_never_run(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.images.add(OTHER_IMAGE)
    running_counts: list[int] = []
    world.droplet.before_command = lambda route, name: running_counts.append(len(world.droplet.running()))
    updated = patch(world, instance, image=OTHER_IMAGE)
    assert (updated.status, updated.settled, updated.spec.image) == (InstanceStatus.RUNNING, True, OTHER_IMAGE)
    assert world.droplet.running() == [f"tool-{instance.id}-g2"] == list(world.droplet.containers)
    assert max(running_counts) == 1
    assert updated.previous_version is None
    assert len(world.documents(PORT_RESERVATIONS)) == 1


def test_previous_version_serves_while_the_new_image_is_pulled(world: World) -> None:
    instance = world.deploy()
    world.droplet.registry[OTHER_IMAGE] = None
    pulling = patch(world, instance, image=OTHER_IMAGE)
    assert not pulling.settled
    assert world.droplet.running() == [instance.container_name]
    world.deliver()
    assert world.droplet.running() == [f"tool-{instance.id}-g2"]


def test_failed_pull_leaves_the_previous_version_serving(world: World) -> None:
    instance = world.deploy()
    patch(world, instance, image="registry.test/nothing:1")
    world.deliver()
    stored = world.stored(instance)
    assert world.droplet.running() == [instance.container_name]
    assert (stored.status, stored.spec.image, stored.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert stored.observed.obstacle
    assert "manifest unknown" in stored.observed.obstacle.message


def test_failed_start_removes_the_new_version_and_rolls_back(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.images.add(OTHER_IMAGE)
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    port = Port(4000, 20_002)
    rolled_back = patch(world, instance, [port], image=OTHER_IMAGE)
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert (rolled_back.status, rolled_back.spec.image, rolled_back.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert rolled_back.observed.obstacle
    assert "no such file" in rolled_back.observed.obstacle.message
    assert [document["instance_id"] for document in world.documents(PORT_RESERVATIONS)] == [instance.id]
    again = patch(world, instance, image=OTHER_IMAGE)
    assert world.droplet.running() == [again.container_name]


def test_crash_of_the_new_version_rolls_back_and_keeps_a_post_mortem(world: World) -> None:
    instance = world.deploy()
    world.droplet.images.add(OTHER_IMAGE)

    def die(route: Route, name: str) -> None:
        if route is routes.RELAY:
            world.droplet.die(name, exit_code=7)

    world.droplet.before_command = die
    patch(world, instance, image=OTHER_IMAGE, mcp=Mcp(3000, "/mcp"))
    for _ in range(3):
        world.sweep()
    stored = world.stored(instance)
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert stored.spec.image == IMAGE
    assert len(world.documents(f"account_tool_instances/{instance.id}/post_mortems")) >= 1


def test_new_version_that_does_not_serve_is_rolled_back_after_two_minutes(world: World) -> None:
    instance = world.deploy()
    patch(world, instance, mcp=Mcp(3000, "/mcp"))
    assert world.droplet.running() == [f"tool-{instance.id}-g2"]
    for _ in range(4):
        world.sweep()
    stored = world.stored(instance)
    assert world.droplet.running() == [instance.container_name]
    assert (stored.status, stored.settled) == (InstanceStatus.RUNNING, True)
    assert stored.observed.obstacle
    assert stored.observed.obstacle.code == "update-failed"


def test_update_of_a_stopped_instance_leaves_it_stopped(world: World) -> None:
    instance = world.deploy()
    world.stop(instance.id)
    world.droplet.images.add(OTHER_IMAGE)
    updated = patch(world, instance, image=OTHER_IMAGE)
    assert (updated.status, updated.settled) == (InstanceStatus.STOPPED, True)
    assert [(container.name, container.state) for container in world.droplet.containers.values()] == [
        (updated.container_name, "created")
    ]


def test_update_keeps_the_allocated_host_port_and_releases_a_dropped_one(world: World) -> None:
    instance = world.deploy(new(ports=(0, 20_009)))
    host_port = instance.spec.ports[0].host_port
    updated = patch(world, instance, [Port(3000, 0)])
    assert [port.host_port for port in updated.spec.ports] == [host_port]
    assert len(world.documents(PORT_RESERVATIONS)) == 1
    assert world.deploy(new("other", ports=(20_009,))).settled


def test_update_to_a_host_port_of_another_instance_changes_nothing(world: World) -> None:
    world.deploy(new("first", ports=(20_001,)))
    second = world.deploy(new("second"))
    with pytest.raises(PortTaken, match="first"):
        patch(world, second, [Port(3000, 20_001)])
    assert world.stored(second).desired.generation == 1


def test_update_during_an_update_is_refused(world: World) -> None:
    instance = world.deploy()
    world.droplet.registry[OTHER_IMAGE] = None
    patch(world, instance, image=OTHER_IMAGE)
    with pytest.raises(NotAllowedNow):
        patch(world, instance, image=IMAGE)


def test_stop_and_delete_during_an_update_leave_nothing_behind(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.registry[OTHER_IMAGE] = None
    patch(world, instance, image=OTHER_IMAGE)
    world.stop(instance.id)
    world.deliver()
    assert world.droplet.running() == []
    world.droplet.images.discard(OTHER_IMAGE)
    world.delete(instance.id)
    world.deliver()
    world.sweep()
    assert world.droplet.containers == {}
    assert world.documents(PORT_RESERVATIONS) == []
    assert world.stored(instance).deleted_at


def test_stop_before_the_new_version_is_proven_stops_it(world: World) -> None:
    instance = world.deploy()
    patch(world, instance, mcp=Mcp(3000, "/mcp"))
    assert world.droplet.running() == [f"tool-{instance.id}-g2"]
    assert world.stop(instance.id).status is InstanceStatus.STOPPED
    assert [(container.name, container.state) for container in world.droplet.containers.values()] == [
        (f"tool-{instance.id}-g2", "exited")
    ]


def test_restart_before_the_new_version_is_proven_restarts_and_proves_it(world: World) -> None:
    instance = world.deploy()
    patch(world, instance, mcp=Mcp(3000, "/mcp"))
    first = world.droplet.containers[f"tool-{instance.id}-g2"].started_at
    world.droplet.mcp = Server(["a"])
    assert world.restart(instance.id).status is InstanceStatus.RUNNING
    assert world.droplet.containers[f"tool-{instance.id}-g2"].started_at != first


def test_update_replaces_a_version_whose_creation_was_not_saved(world: World) -> None:
    """The worker died after the start; the account updates before another worker has reconciled the instance."""

    def die(writes: Sequence[Write]) -> None:
        if world.droplet.containers:
            raise KeyboardInterrupt

    world.store.before_commit = die
    with pytest.raises(KeyboardInterrupt):
        world.deploy()
    world.store.before_commit = lambda writes: None
    [instance] = [
        loaded.value for snapshot in world.store.query(Query(INSTANCES)) if (loaded := decode(Instance, snapshot))
    ]
    assert world.droplet.running() == [instance.container_name]
    world.droplet.images.add(OTHER_IMAGE)
    patch(world, instance, image=OTHER_IMAGE)
    world.sweep()
    assert world.droplet.running() == [f"tool-{instance.id}-g2"] == list(world.droplet.containers)


def test_update_does_not_keep_a_version_that_never_ran(world: World) -> None:
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    instance = world.deploy()
    world.droplet.images.add(OTHER_IMAGE)
    updated = patch(world, instance, image=OTHER_IMAGE)
    assert (updated.status, updated.settled) == (InstanceStatus.RUNNING, True)
    assert list(world.droplet.containers) == [f"tool-{instance.id}-g2"]


def test_new_version_that_exits_right_after_its_start_is_rolled_back(world: World) -> None:
    """With `init`, a command that does not exist starts successfully and exits right after."""
    instance = world.deploy()
    world.droplet.images.add(OTHER_IMAGE)

    def end_at_once(route: Route, name: str) -> None:
        if route is routes.INSPECT and world.droplet.containers[name].state == "running":
            world.droplet.crash(name, restarts=1, exit_code=127)

    world.droplet.before_command = end_at_once
    rolled_back = patch(world, instance, image=OTHER_IMAGE)
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert (rolled_back.status, rolled_back.spec.image, rolled_back.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert rolled_back.observed.obstacle
    assert rolled_back.observed.obstacle.code == "update-failed"


def test_failed_rollback_reports_both_reasons_and_can_be_updated(world: World) -> None:
    instance = world.deploy()
    world.droplet.images.add(OTHER_IMAGE)
    world.droplet.faults += [
        Fault(shim_errors.StartFailed(reason), routes.START) for reason in ("no such file", "no memory")
    ]
    failed = patch(world, instance, image=OTHER_IMAGE)
    assert (failed.status, failed.spec.image, failed.settled) == (InstanceStatus.ERROR_RUNTIME, IMAGE, True)
    assert failed.failure
    assert failed.failure.message == "no memory; before that an update was given up: no such file"
    assert patch(world, instance, image=OTHER_IMAGE).status is InstanceStatus.RUNNING


def test_rollback_probes_the_previous_version_again(world: World) -> None:
    world.droplet.mcp = Server(["a"])
    instance = world.deploy(replace(new(), spec=replace(new().spec, mcp=Mcp(3000, "/mcp"))))
    world.droplet.images.add(OTHER_IMAGE)
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    rolled_back = patch(world, instance, image=OTHER_IMAGE)
    assert (rolled_back.status, rolled_back.spec.image, rolled_back.settled) == (InstanceStatus.RUNNING, IMAGE, True)
