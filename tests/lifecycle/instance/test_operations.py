"""Deploy, start, stop, restart and delete: what each request does, and what it refuses."""

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
from tests.fakes.world import CALLER, OTHER_CALLER, TOOLBOX, World, new

OTHER_IMAGE = "registry.test/other:2"


def deployed(world: World, name: str = "server", **options: object) -> Instance:
    return world.deploy(new(name, **options))  # type: ignore[arg-type]


def test_deploy_answers_once_the_container_runs(world: World) -> None:
    instance = deployed(world)
    assert instance.status is InstanceStatus.RUNNING
    assert instance.settled
    assert world.droplet.running() == [instance.container_name]


def test_deploy_without_start_creates_a_stopped_container(world: World) -> None:
    instance = deployed(world, start=False)
    assert instance.status is InstanceStatus.STOPPED
    assert [container.state for container in world.droplet.containers.values()] == ["created"]


def test_missing_image_is_pulled_by_the_queue_worker_after_the_answer(world: World) -> None:
    world.droplet.registry[OTHER_IMAGE] = None
    requested = deployed(world, image=OTHER_IMAGE)
    assert (requested.status, requested.settled, requested.lease) == (InstanceStatus.DEPLOYING, False, None)
    world.deliver()
    assert instances.get(world.deps, CALLER, TOOLBOX, requested.id).status is InstanceStatus.RUNNING


def test_unknown_image_ends_in_error_install_with_the_registry_reason(world: World) -> None:
    requested = deployed(world, image="registry.test/nothing:1")
    world.deliver()
    instance = instances.get(world.deps, CALLER, TOOLBOX, requested.id)
    assert instance.status is InstanceStatus.ERROR_INSTALL
    assert instance.failure
    assert "manifest unknown" in instance.failure.message
    assert instance.due_at is None


def test_failed_install_can_be_deleted_and_its_name_and_port_reused(world: World) -> None:
    requested = deployed(world, image="registry.test/nothing:1", ports=(20_001,))
    world.deliver()
    world.delete(requested.id)
    assert deployed(world, ports=(20_001,)).status is InstanceStatus.RUNNING


def test_pull_is_retried_until_the_registry_answers(world: World) -> None:
    world.droplet.registry[OTHER_IMAGE] = shim_errors.RegistryUnreachable("connection refused")
    requested = deployed(world, image=OTHER_IMAGE)
    world.deliver()
    waiting = instances.get(world.deps, CALLER, TOOLBOX, requested.id)
    assert (waiting.status, waiting.attempts) == (InstanceStatus.DEPLOYING, 1)
    assert waiting.observed.obstacle
    assert waiting.observed.obstacle.code == "registry-unreachable"
    world.droplet.registry[OTHER_IMAGE] = None
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, requested.id).status is InstanceStatus.RUNNING


def test_restart_stop_and_start_change_the_container(world: World) -> None:
    instance = deployed(world)
    first = world.droplet.containers[instance.container_name].started_at
    assert world.restart(instance.id).status is InstanceStatus.RUNNING
    second = world.droplet.containers[instance.container_name].started_at
    assert first != second
    assert world.stop(instance.id).status is InstanceStatus.STOPPED
    assert world.droplet.running() == []
    assert world.start(instance.id).status is InstanceStatus.RUNNING
    assert world.droplet.running() == [instance.container_name]


def test_restart_of_a_stopped_instance_starts_it_once(world: World) -> None:
    instance = deployed(world, start=False)
    assert world.restart(instance.id).status is InstanceStatus.RUNNING
    assert [call for call in world.droplet.calls if call.endswith("restart")] == []


def test_delete_leaves_a_tombstone_and_releases_name_and_ports(world: World) -> None:
    instance = deployed(world, ports=(0, 20_005))
    deleted = world.delete(instance.id)
    assert deleted.deleted_at
    assert world.droplet.containers == {}
    assert world.documents(NAME_RESERVATIONS) == world.documents(PORT_RESERVATIONS) == []
    with pytest.raises(NotFound):
        instances.get(world.deps, CALLER, TOOLBOX, instance.id)
    with pytest.raises(NotFound):
        instances.get(world.deps, CALLER, TOOLBOX, "server")
    assert instances.page(world.deps, CALLER, TOOLBOX, 10, None).records == []


def test_instance_is_found_by_name_and_by_id(world: World) -> None:
    instance = deployed(world, "Context7 MCP Server-1750278276605")
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.name).id == instance.id
    assert world.stop(instance.name).status is InstanceStatus.STOPPED


def test_deploy_with_a_name_in_use_is_refused_and_writes_nothing(world: World) -> None:
    first = deployed(world)
    with pytest.raises(NameTaken, match=first.id):
        deployed(world)
    assert len(world.documents()) == 1
    assert len(world.droplet.containers) == 1


def test_deploy_with_a_host_port_in_use_is_refused_naming_the_holder(world: World) -> None:
    deployed(world, "first", ports=(20_007,))
    with pytest.raises(PortTaken, match="first"):
        deployed(world, "second", ports=(20_007,))
    assert [document["name"] for document in world.documents()] == ["first"]


def test_allocation_skips_a_host_port_that_is_reserved(world: World) -> None:
    world.draws = iter([0.5, 0.5, 0.0, 0.75])
    first, second = deployed(world, "first", ports=(0,)), deployed(world, "second", ports=(0,))
    assert first.spec.ports[0].host_port == 25_000
    assert second.spec.ports[0].host_port == 27_500


def test_stop_on_an_unreachable_toolbox_is_kept_with_the_last_observation(world: World) -> None:
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
def test_command_with_unknown_outcome_takes_effect_once(world: World, route: routes.Route, after: bool) -> None:
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("timed out"), route, after=after))
    instance = deployed(world)
    assert not instance.settled
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).status is InstanceStatus.RUNNING
    assert world.droplet.running() == [instance.container_name]


def test_restart_with_a_lost_answer_restarts_once(world: World) -> None:
    instance = deployed(world)
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("timed out"), routes.RESTART, after=True))
    world.restart(instance.id)
    started_at = world.droplet.containers[instance.container_name].started_at
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).settled
    assert world.droplet.containers[instance.container_name].started_at == started_at


def test_stop_with_a_lost_answer_is_not_recorded_as_a_crash(world: World) -> None:
    instance = deployed(world)
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("timed out"), routes.STOP, after=True))
    world.stop(instance.id)
    world.sweep()
    assert instances.get(world.deps, CALLER, TOOLBOX, instance.id).status is InstanceStatus.STOPPED
    assert "crashed" not in [event_type for event_type, _, _ in world.events(instance)]


def test_failed_start_ends_in_error_install_with_the_engine_reason(world: World) -> None:
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    instance = deployed(world)
    assert (instance.status, instance.settled) == (InstanceStatus.ERROR_INSTALL, True)
    assert instance.failure
    assert instance.failure.message == "exec: no such file"


def test_toolbox_of_another_account_is_not_found(world: World) -> None:
    instance = deployed(world)
    for operation in (change.start, change.stop, change.restart, change.delete):
        with pytest.raises(NotFound):
            operation(world.deps, InstanceRequest(OTHER_CALLER, TOOLBOX, instance.id))
    with pytest.raises(NotFound):
        instances.get(world.deps, OTHER_CALLER, TOOLBOX, instance.id)
    with pytest.raises(NotFound):
        deploy(world.deps, OTHER_CALLER, TOOLBOX, new("mine"))
    assert world.droplet.running() == [instance.container_name]


def test_instance_on_another_toolbox_of_the_account_is_not_found(world: World) -> None:
    instance = deployed(world)
    other = world.add_toolbox("33333333-3333-4333-8333-333333333333")
    with pytest.raises(NotFound):
        instances.get(world.deps, CALLER, other.id, instance.id)


def test_instance_in_deletion_accepts_only_another_delete(world: World) -> None:
    instance = deployed(world)
    world.droplet.reachable = False
    assert world.delete(instance.id).status is InstanceStatus.DELETING
    with pytest.raises(NotAllowedNow):
        world.start(instance.id)
    world.droplet.reachable = True
    world.pass_time(60)
    assert world.delete(instance.id).deleted_at


def test_each_request_and_its_outcome_are_events(world: World) -> None:
    instance = deployed(world)
    world.stop(instance.id)
    assert world.events(instance) == [
        ("deploy_requested", None, "pending_deploy"),
        ("status_changed", "pending_deploy", "running"),
        ("stop_requested", "running", "stopping"),
        ("status_changed", "stopping", "stopped"),
    ]
