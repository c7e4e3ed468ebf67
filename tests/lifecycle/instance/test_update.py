"""PATCH: the version before is kept until the new one is proven."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from functions.domain.errors import NotAllowedNow, PortTaken
from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.instance.spec import Mcp
from functions.lifecycle.dependencies import Query, Write
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.repository import INSTANCES, PORT_RESERVATIONS, decode
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from shim.contract.routes import Route
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.mcp_server import Server
from tests.fakes.world import CALLER, TOOLBOX, World, new

OTHER = "registry.test/server:2"


def patched(world: World, instance: Instance, ports: list[messages.Port] | None = None, **spec: object) -> Instance:
    answer = update(
        world.deps,
        InstanceRequest(CALLER, TOOLBOX, instance.id),
        Changes(lambda old: replace(old, **spec), ports),  # type: ignore[arg-type]
    )
    assert isinstance(answer, Instance)
    return answer


def test_the_new_version_replaces_the_old_one_and_never_do_two_run(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.images.add(OTHER)
    most: list[int] = []
    world.droplet.before_command = lambda route, name: most.append(len(world.droplet.running()))
    updated = patched(world, instance, image=OTHER)
    assert (updated.status, updated.settled, updated.spec.image) == (InstanceStatus.RUNNING, True, OTHER)
    assert world.droplet.running() == [f"tool-{instance.id}-g2"] == list(world.droplet.containers)
    assert max(most) == 1
    assert updated.previous_version is None
    assert len(world.documents(PORT_RESERVATIONS)) == 1


def test_an_image_to_be_pulled_is_pulled_while_the_old_version_serves(world: World) -> None:
    instance = world.deploy()
    world.droplet.registry[OTHER] = None
    asked = patched(world, instance, image=OTHER)
    assert not asked.settled
    assert world.droplet.running() == [instance.container_name]
    world.deliver()
    assert world.droplet.running() == [f"tool-{instance.id}-g2"]


def test_a_version_that_cannot_be_pulled_leaves_the_old_one_serving(world: World) -> None:
    instance = world.deploy()
    patched(world, instance, image="registry.test/nothing:1")
    world.deliver()
    stored = world.stored(instance)
    assert world.droplet.running() == [instance.container_name]
    assert (stored.status, stored.spec.image, stored.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert stored.observed.obstacle
    assert "manifest unknown" in stored.observed.obstacle.message


def test_a_version_that_does_not_start_is_removed_and_the_old_one_serves_again(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.images.add(OTHER)
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    port = messages.Port(4000, 20_002)
    after = patched(world, instance, [port], image=OTHER)
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert (after.status, after.spec.image, after.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert after.observed.obstacle
    assert "no such file" in after.observed.obstacle.message
    assert [document["instance_id"] for document in world.documents(PORT_RESERVATIONS)] == [instance.id]
    again = patched(world, instance, image=OTHER)
    assert world.droplet.running() == [again.container_name]


def test_a_version_that_dies_is_replaced_by_the_old_one_and_its_last_words_are_kept(world: World) -> None:
    instance = world.deploy()
    world.droplet.images.add(OTHER)
    wanted = Mcp(3000, "/mcp")

    def die(route: Route, name: str) -> None:
        if route is routes.REQUEST:
            world.droplet.die(name, exit_code=7)

    world.droplet.before_command = die
    patched(world, instance, image=OTHER, mcp=wanted)
    for _ in range(3):
        world.sweep()
    stored = world.stored(instance)
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert stored.spec.image == IMAGE
    assert len(world.documents(f"account_tool_instances/{instance.id}/post_mortems")) >= 1


def test_a_version_that_never_serves_is_given_up_after_two_minutes(world: World) -> None:
    instance = world.deploy()
    patched(world, instance, mcp=Mcp(3000, "/mcp"))
    assert world.droplet.running() == [f"tool-{instance.id}-g2"]
    for _ in range(4):
        world.sweep()
    stored = world.stored(instance)
    assert world.droplet.running() == [instance.container_name]
    assert (stored.status, stored.settled) == (InstanceStatus.RUNNING, True)
    assert stored.observed.obstacle
    assert stored.observed.obstacle.code == "update-failed"


def test_an_update_of_what_is_stopped_leaves_it_stopped(world: World) -> None:
    instance = world.deploy()
    world.stop(instance.id)
    world.droplet.images.add(OTHER)
    updated = patched(world, instance, image=OTHER)
    assert (updated.status, updated.settled) == (InstanceStatus.STOPPED, True)
    assert [(c.name, c.state) for c in world.droplet.containers.values()] == [(updated.container_name, "created")]


def test_a_host_port_that_is_kept_stays_the_same_and_one_that_is_dropped_is_freed(world: World) -> None:
    instance = world.deploy(new(ports=(0, 20_009)))
    kept = instance.spec.ports[0].host_port
    updated = patched(world, instance, [messages.Port(3000, 0)])
    assert [port.host_port for port in updated.spec.ports] == [kept]
    assert len(world.documents(PORT_RESERVATIONS)) == 1
    assert world.deploy(new("other", ports=(20_009,))).settled


def test_a_host_port_of_another_instance_is_refused_and_nothing_changes(world: World) -> None:
    world.deploy(new("first", ports=(20_001,)))
    second = world.deploy(new("second"))
    with pytest.raises(PortTaken, match="first"):
        patched(world, second, [messages.Port(3000, 20_001)])
    assert world.stored(second).desired.generation == 1


def test_a_second_update_waits_for_the_first(world: World) -> None:
    instance = world.deploy()
    world.droplet.registry[OTHER] = None
    patched(world, instance, image=OTHER)
    with pytest.raises(NotAllowedNow):
        patched(world, instance, image=IMAGE)


def test_a_stop_and_a_delete_in_the_middle_of_an_update_leave_nothing_behind(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.registry[OTHER] = None
    patched(world, instance, image=OTHER)
    world.stop(instance.id)
    world.deliver()
    assert world.droplet.running() == []
    world.droplet.images.discard(OTHER)
    world.delete(instance.id)
    world.deliver()
    world.sweep()
    assert world.droplet.containers == {}
    assert world.documents(PORT_RESERVATIONS) == []
    assert world.stored(instance).deleted_at


def test_a_stop_before_the_new_version_is_proven_stops_it(world: World) -> None:
    instance = world.deploy()
    patched(world, instance, mcp=Mcp(3000, "/mcp"))
    assert world.droplet.running() == [f"tool-{instance.id}-g2"]
    assert world.stop(instance.id).status is InstanceStatus.STOPPED
    assert [(c.name, c.state) for c in world.droplet.containers.values()] == [(f"tool-{instance.id}-g2", "exited")]


def test_a_restart_before_the_new_version_is_proven_is_made_and_proven(world: World) -> None:
    instance = world.deploy()
    patched(world, instance, mcp=Mcp(3000, "/mcp"))
    first = world.droplet.containers[f"tool-{instance.id}-g2"].started_at
    world.droplet.mcp = Server(["a"])
    assert world.restart(instance.id).status is InstanceStatus.RUNNING
    assert world.droplet.containers[f"tool-{instance.id}-g2"].started_at != first


def test_a_version_whose_create_went_unseen_is_replaced_all_the_same(world: World) -> None:
    """Its worker died with it running; the account asks for another version before anybody has taken over."""

    def die(writes: Sequence[Write]) -> None:
        if world.droplet.containers:
            raise KeyboardInterrupt

    world.store.before_commit = die
    with pytest.raises(KeyboardInterrupt):
        world.deploy()
    world.store.before_commit = lambda writes: None
    [instance] = [loaded.value for one in world.store.query(Query(INSTANCES)) if (loaded := decode(Instance, one))]
    assert world.droplet.running() == [instance.container_name]
    world.droplet.images.add(OTHER)
    patched(world, instance, image=OTHER)
    world.sweep()
    assert world.droplet.running() == [f"tool-{instance.id}-g2"] == list(world.droplet.containers)


def test_what_never_ran_is_not_fallen_back_on(world: World) -> None:
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    instance = world.deploy()
    world.droplet.images.add(OTHER)
    updated = patched(world, instance, image=OTHER)
    assert (updated.status, updated.settled) == (InstanceStatus.RUNNING, True)
    assert list(world.droplet.containers) == [f"tool-{instance.id}-g2"]


def test_a_version_that_ends_right_after_its_start_is_not_taken_for_proven(world: World) -> None:
    """With an `init` even a command that does not exist starts, and ends only then."""
    instance = world.deploy()
    world.droplet.images.add(OTHER)

    def end_at_once(route: Route, name: str) -> None:
        if route is routes.INSPECT and world.droplet.containers[name].state == "running":
            world.droplet.crash(name, restarts=1, exit_code=127)

    world.droplet.before_command = end_at_once
    after = patched(world, instance, image=OTHER)
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert (after.status, after.spec.image, after.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert after.observed.obstacle
    assert after.observed.obstacle.code == "update-failed"


def test_a_version_before_that_does_not_start_either_is_given_up_too_and_can_be_changed(world: World) -> None:
    instance = world.deploy()
    world.droplet.images.add(OTHER)
    world.droplet.faults += [Fault(shim_errors.StartFailed(why), routes.START) for why in ("no such file", "no memory")]
    after = patched(world, instance, image=OTHER)
    assert (after.status, after.spec.image, after.settled) == (InstanceStatus.ERROR_RUNTIME, IMAGE, True)
    assert after.failure
    assert after.failure.message == "no memory; before that an update was given up: no such file"
    assert patched(world, instance, image=OTHER).status is InstanceStatus.RUNNING


def test_a_version_before_is_asked_again_whether_it_serves(world: World) -> None:
    world.droplet.mcp = Server(["a"])
    instance = world.deploy(replace(new(), spec=replace(new().spec, mcp=Mcp(3000, "/mcp"))))
    world.droplet.images.add(OTHER)
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    after = patched(world, instance, image=OTHER)
    assert (after.status, after.spec.image, after.settled) == (InstanceStatus.RUNNING, IMAGE, True)
