"""A host port that the droplet refuses during an update: for the new version, the previous version, or both."""

from functions.domain.instance.container import Port
from functions.domain.instance.host_port import MAX_REALLOCATIONS
from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.instance.spec import Mcp
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.world import World, new
from tests.lifecycle.instance.host_ports import ALLOCATABLE, host_ports, occupy_ports_at_first_start, reserved_ports
from tests.lifecycle.updates import OTHER_IMAGE, patch


def update_to_other(world: World, instance: Instance, ports: list[Port] | None = None, **spec: object) -> Instance:
    world.droplet.images.add(OTHER_IMAGE)
    return patch(world, instance, ports, image=OTHER_IMAGE, **spec)


def test_new_version_with_a_taken_port_gets_another_before_a_rollback(
    world: World,
) -> None:
    instance = world.deploy(new(ports=(0,)))
    occupy_ports_at_first_start(world)
    updated = update_to_other(world, instance, [Port(4000, 0)])
    assert (updated.status, updated.spec.image, updated.settled) == (InstanceStatus.RUNNING, OTHER_IMAGE, True)
    assert (updated.desired.generation, updated.observed.generation) == (2, 2)
    assert world.droplet.running() == [f"tool-{instance.id}-g3"] == list(world.droplet.containers)
    assert reserved_ports(world) == [str(port) for port in host_ports(updated)]
    again = update_to_other(world, instance)
    assert world.droplet.running() == [f"tool-{instance.id}-g4"] == [again.container_name]


def test_new_version_without_any_free_port_is_rolled_back(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.droplet.held_ports = ALLOCATABLE - set(host_ports(instance))
    updated = update_to_other(world, instance, [Port(4000, 0)])
    assert (updated.status, updated.spec.image, updated.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert updated.observed.obstacle
    assert updated.observed.obstacle.code == "port-taken"
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert reserved_ports(world) == [str(port) for port in host_ports(instance)]
    world.droplet.held_ports = set()
    assert update_to_other(world, instance).container_name == f"tool-{instance.id}-g{3 + MAX_REALLOCATIONS}"


def test_port_shared_by_both_versions_stays_reserved_until_the_old_one_goes(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    occupy_ports_at_first_start(world)
    update_to_other(world, instance, mcp=Mcp(3000, "/mcp"))
    waiting = world.stored(instance)
    assert waiting.previous_version
    assert reserved_ports(world) == sorted(map(str, [*host_ports(instance), *host_ports(waiting)]))
    assert len(set(reserved_ports(world))) == 2


def test_rollback_reallocates_the_taken_port_of_the_previous_version(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.droplet.held_ports = set(host_ports(instance))
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    stored = update_to_other(world, instance)
    assert stored.observed.obstacle
    assert stored.observed.obstacle.message == "exec: no such file; the previous version serves again"
    assert (stored.status, stored.spec.image, stored.settled, stored.due_at) == (
        InstanceStatus.RUNNING,
        IMAGE,
        True,
        None,
    )
    assert world.droplet.running() == [stored.container_name] == list(world.droplet.containers)
    assert host_ports(stored) != host_ports(instance)
    assert reserved_ports(world) == [str(port) for port in host_ports(stored)]


def test_rollback_fails_when_the_requested_port_is_taken_and_can_be_updated(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.held_ports = {20_001}
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    failed = update_to_other(world, instance)
    assert (failed.status, failed.spec.image, failed.settled) == (InstanceStatus.ERROR_RUNTIME, IMAGE, True)
    assert failed.failure
    assert failed.failure.code == "port-taken"
    assert "before that an update was given up: exec: no such file" in failed.failure.message
    updated = update_to_other(world, instance, [Port(3000, 20_002)])
    assert (updated.status, host_ports(updated), reserved_ports(world)) == (InstanceStatus.RUNNING, [20_002], ["20002"])
