"""An update and a host port that the droplet refuses: of the new version, of the one before, or of both."""

from dataclasses import replace

from functions.domain.instance.host_port import MAX_REALLOCATIONS
from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.instance.spec import Mcp
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.world import CALLER, TOOLBOX, World, new
from tests.lifecycle.instance.host_ports import DRAWN, claimed, host_ports, refusing_the_first

OTHER = "registry.test/server:2"


def patched(world: World, instance: Instance, ports: list[messages.Port] | None = None, **spec: object) -> Instance:
    world.droplet.images.add(OTHER)
    changes = Changes(lambda old: replace(old, image=OTHER, **spec), ports)  # type: ignore[arg-type]
    answer = update(world.deps, InstanceRequest(CALLER, TOOLBOX, instance.id), changes)
    assert isinstance(answer, Instance)
    return answer


def test_a_new_version_whose_drawn_port_is_taken_gets_another_one_before_the_old_one_is_fallen_back_on(
    world: World,
) -> None:
    instance = world.deploy(new(ports=(0,)))
    refusing_the_first(world)
    updated = patched(world, instance, [messages.Port(4000, 0)])
    assert (updated.status, updated.spec.image, updated.settled) == (InstanceStatus.RUNNING, OTHER, True)
    assert (updated.desired.generation, updated.observed.generation) == (2, 2)
    assert world.droplet.running() == [f"tool-{instance.id}-g3"] == list(world.droplet.containers)
    assert claimed(world) == [str(port) for port in host_ports(updated)]
    again = patched(world, instance)
    assert world.droplet.running() == [f"tool-{instance.id}-g4"] == [again.container_name]


def test_a_new_version_that_gets_no_port_at_all_is_replaced_by_the_old_one(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.droplet.held_ports = DRAWN - set(host_ports(instance))
    updated = patched(world, instance, [messages.Port(4000, 0)])
    assert (updated.status, updated.spec.image, updated.settled) == (InstanceStatus.RUNNING, IMAGE, True)
    assert updated.observed.obstacle
    assert updated.observed.obstacle.code == "port-taken"
    assert world.droplet.running() == [instance.container_name] == list(world.droplet.containers)
    assert claimed(world) == [str(port) for port in host_ports(instance)]
    world.droplet.held_ports = set()
    assert patched(world, instance).container_name == f"tool-{instance.id}-g{3 + MAX_REALLOCATIONS}"


def test_a_port_that_both_versions_share_stays_claimed_until_the_old_one_is_gone(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    refusing_the_first(world)
    patched(world, instance, mcp=Mcp(3000, "/mcp"))
    waiting = world.stored(instance)
    assert waiting.previous_version
    assert claimed(world) == sorted(map(str, [*host_ports(instance), *host_ports(waiting)]))
    assert len(set(claimed(world))) == 2


def test_an_old_version_whose_drawn_port_was_taken_meanwhile_is_fallen_back_on_with_another_one(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.droplet.held_ports = set(host_ports(instance))
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    stored = patched(world, instance)
    assert stored.observed.obstacle
    assert stored.observed.obstacle.message == "exec: no such file; the version before serves again"
    assert (stored.status, stored.spec.image, stored.settled, stored.due_at) == (
        InstanceStatus.RUNNING,
        IMAGE,
        True,
        None,
    )
    assert world.droplet.running() == [stored.container_name] == list(world.droplet.containers)
    assert host_ports(stored) != host_ports(instance)
    assert claimed(world) == [str(port) for port in host_ports(stored)]


def test_an_old_version_whose_asked_port_was_taken_meanwhile_is_given_up_and_can_be_changed(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    world.droplet.held_ports = {20_001}
    world.droplet.faults.append(Fault(shim_errors.StartFailed("exec: no such file"), routes.START))
    after = patched(world, instance)
    assert (after.status, after.spec.image, after.settled) == (InstanceStatus.ERROR_RUNTIME, IMAGE, True)
    assert after.failure
    assert after.failure.code == "port-taken"
    assert "before that an update was given up: exec: no such file" in after.failure.message
    updated = patched(world, instance, [messages.Port(3000, 20_002)])
    assert (updated.status, host_ports(updated), claimed(world)) == (InstanceStatus.RUNNING, [20_002], ["20002"])
