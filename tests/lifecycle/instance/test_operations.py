"""An instance's life as its account asks for it."""

import pytest

from functions.domain.errors import NameTaken, NotAllowedNow, NotFound, PortTaken
from functions.domain.instance.model import DesiredState, Instance, InstanceStatus
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import InstanceRequest
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.repository import NAME_RESERVATIONS, PORT_RESERVATIONS
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.droplet import Fault
from tests.fakes.world import CALLER, STRANGER, TOOLBOX, World, new

OTHER_IMAGE = "registry.test/other:2"


def deployed(world: World, name: str = "server", **options: object) -> Instance:
    return world.deploy(new(name, **options))  # type: ignore[arg-type]


def test_a_deploy_runs_its_container_before_it_is_answered(world: World) -> None:
    instance = deployed(world)
    assert instance.status is InstanceStatus.RUNNING
    assert instance.settled
    assert world.droplet.running() == [instance.container_name]


def test_a_deploy_that_is_not_to_start_has_its_container_created_and_stopped(world: World) -> None:
    instance = deployed(world, start=False)
    assert instance.status is InstanceStatus.STOPPED
    assert [c.state for c in world.droplet.containers.values()] == ["created"]


def test_a_missing_image_is_pulled_by_the_queues_worker_and_the_caller_does_not_wait(world: World) -> None:
    world.droplet.registry[OTHER_IMAGE] = None
    asked = deployed(world, image=OTHER_IMAGE)
    assert (asked.status, asked.settled, asked.lease) == (InstanceStatus.DEPLOYING, False, None)
    world.deliver()
    assert instances.get(world.deps, CALLER, TOOLBOX, asked.id).status is InstanceStatus.RUNNING


def test_an_image_that_does_not_exist_ends_in_error_install_with_the_registrys_reason(world: World) -> None:
    asked = deployed(world, image="registry.test/nothing:1")
    world.deliver()
    instance = instances.get(world.deps, CALLER, TOOLBOX, asked.id)
    assert instance.status is InstanceStatus.ERROR_INSTALL
    assert instance.failure
    assert "manifest unknown" in instance.failure.message
    assert instance.due_at is None


def test_what_failed_to_install_can_be_deleted_and_its_name_used_again(world: World) -> None:
    asked = deployed(world, image="registry.test/nothing:1", ports=(20_001,))
    world.deliver()
    world.delete(asked.id)
    assert deployed(world, ports=(20_001,)).status is InstanceStatus.RUNNING


def test_a_registry_that_is_down_is_tried_again_until_it_answers(world: World) -> None:
    world.droplet.registry[OTHER_IMAGE] = shim_errors.RegistryUnreachable("connection refused")
    asked = deployed(world, image=OTHER_IMAGE)
    world.deliver()
    waiting = instances.get(world.deps, CALLER, TOOLBOX, asked.id)
    assert (waiting.status, waiting.attempts) == (InstanceStatus.DEPLOYING, 1)
    assert waiting.observed.obstacle
    assert waiting.observed.obstacle.code == "registry-unreachable"
    world.droplet.registry[OTHER_IMAGE] = None
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, asked.id).status is InstanceStatus.RUNNING


def test_stop_start_and_restart_do_what_they_say(world: World) -> None:
    instance = deployed(world)
    first = world.droplet.containers[instance.container_name].started_at
    assert world.restart(instance.id).status is InstanceStatus.RUNNING
    second = world.droplet.containers[instance.container_name].started_at
    assert first != second
    assert world.stop(instance.id).status is InstanceStatus.STOPPED
    assert world.droplet.running() == []
    assert world.start(instance.id).status is InstanceStatus.RUNNING
    assert world.droplet.running() == [instance.container_name]


def test_restarting_what_is_stopped_starts_it_once(world: World) -> None:
    instance = deployed(world, start=False)
    assert world.restart(instance.id).status is InstanceStatus.RUNNING
    assert [call for call in world.droplet.calls if call.endswith("restart")] == []


def test_a_deleted_instance_leaves_a_tombstone_and_frees_its_name_and_ports(world: World) -> None:
    instance = deployed(world, ports=(0, 20_005))
    deleted = world.delete(instance.id)
    assert deleted.deleted_at
    assert world.droplet.containers == {}
    assert world.documents(NAME_RESERVATIONS) == world.documents(PORT_RESERVATIONS) == []
    with pytest.raises(NotFound):
        instances.get(world.deps, CALLER, TOOLBOX, instance.id)
    with pytest.raises(NotFound):
        instances.get(world.deps, CALLER, TOOLBOX, "server")
    assert instances.page(world.deps, CALLER, TOOLBOX, 10, None) == []


def test_an_instance_is_found_by_its_name_as_by_its_id(world: World) -> None:
    instance = deployed(world, "Context7 MCP Server-1750278276605")
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.name).id == instance.id
    assert world.stop(instance.name).status is InstanceStatus.STOPPED


def test_a_name_in_use_is_refused_and_nothing_is_written(world: World) -> None:
    first = deployed(world)
    with pytest.raises(NameTaken, match=first.id):
        deployed(world)
    assert len(world.documents()) == 1
    assert len(world.droplet.containers) == 1


def test_a_host_port_in_use_is_refused_and_its_holder_named(world: World) -> None:
    deployed(world, "first", ports=(20_007,))
    with pytest.raises(PortTaken, match="first"):
        deployed(world, "second", ports=(20_007,))
    assert [document["name"] for document in world.documents()] == ["first"]


def test_a_drawn_host_port_that_is_taken_is_drawn_again(world: World) -> None:
    world.draws = iter([0.5, 0.5, 0.75])
    first, second = deployed(world, "first", ports=(0,)), deployed(world, "second", ports=(0,))
    assert first.spec.ports[0].host_port == 25_000
    assert second.spec.ports[0].host_port == 27_500


def test_a_toolbox_that_cannot_be_reached_keeps_the_wish_and_shows_what_was_last_seen(world: World) -> None:
    instance = deployed(world)
    seen_at = instance.observed.at
    world.droplet.reachable = False
    stopped = world.stop(instance.id)
    assert (stopped.status, stopped.settled) == (InstanceStatus.STOPPING, False)
    assert stopped.desired.state is DesiredState.STOPPED
    assert (stopped.observed.reachable, stopped.observed.at) == (False, seen_at)
    world.droplet.reachable = True
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).status is InstanceStatus.STOPPED


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("route", [routes.CREATE, routes.START])
def test_an_unknown_outcome_is_looked_at_and_never_doubled(world: World, route: routes.Route, after: bool) -> None:
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("timed out"), route, after=after))
    instance = deployed(world)
    assert not instance.settled
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).status is InstanceStatus.RUNNING
    assert world.droplet.running() == [instance.container_name]


def test_a_restart_whose_answer_was_lost_is_not_made_twice(world: World) -> None:
    instance = deployed(world)
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("timed out"), routes.RESTART, after=True))
    world.restart(instance.id)
    started_at = world.droplet.containers[instance.container_name].started_at
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).settled
    assert world.droplet.containers[instance.container_name].started_at == started_at


def test_a_stop_whose_answer_was_lost_is_no_crash(world: World) -> None:
    instance = deployed(world)
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("timed out"), routes.STOP, after=True))
    world.stop(instance.id)
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).status is InstanceStatus.STOPPED
    assert "crashed" not in [kind for kind, _, _ in world.events(instance)]


def test_a_container_that_cannot_start_is_an_error_with_the_engines_reason(world: World) -> None:
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    instance = deployed(world)
    assert (instance.status, instance.settled) == (InstanceStatus.ERROR_INSTALL, True)
    assert instance.failure
    assert instance.failure.message == "exec: no such file"


def test_somebody_elses_toolbox_is_not_there(world: World) -> None:
    instance = deployed(world)
    for act in (change.start, change.stop, change.restart, change.delete):
        with pytest.raises(NotFound):
            act(world.deps, InstanceRequest(STRANGER, TOOLBOX, instance.id))
    with pytest.raises(NotFound):
        instances.get(world.deps, STRANGER, TOOLBOX, instance.id)
    with pytest.raises(NotFound):
        deploy(world.deps, STRANGER, TOOLBOX, new("mine"))
    assert world.droplet.running() == [instance.container_name]


def test_an_instance_of_another_toolbox_of_the_same_account_is_not_in_this_one(world: World) -> None:
    instance = deployed(world)
    other = world.add_toolbox("33333333-3333-4333-8333-333333333333")
    with pytest.raises(NotFound):
        instances.get(world.deps, CALLER, other.id, instance.id)


def test_what_is_being_deleted_can_only_be_deleted(world: World) -> None:
    instance = deployed(world)
    world.droplet.reachable = False
    assert world.delete(instance.id).status is InstanceStatus.DELETING
    with pytest.raises(NotAllowedNow):
        world.start(instance.id)
    world.droplet.reachable = True
    world.pass_time(60)
    assert world.delete(instance.id).deleted_at


def test_every_change_and_what_came_of_it_is_in_the_events(world: World) -> None:
    instance = deployed(world)
    world.stop(instance.id)
    assert world.events(instance) == [
        ("deploy_requested", None, "pending_deploy"),
        ("status_changed", "pending_deploy", "running"),
        ("stop_requested", "running", "stopping"),
        ("status_changed", "stopping", "stopped"),
    ]
