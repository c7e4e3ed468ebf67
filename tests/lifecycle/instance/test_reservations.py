"""Names and host ports: held as long as they are needed, by whoever needs them, and no longer."""

from dataclasses import replace

from functions.domain.instance.model import Instance
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.repository import NAME_RESERVATIONS, PORT_RESERVATIONS
from shim.contract import messages
from tests.fakes.droplet import IMAGE
from tests.fakes.world import CALLER, TOOLBOX, World, new

OTHER = "registry.test/server:2"


def patched(world: World, instance: Instance, ports: list[messages.Port] | None, image: str = IMAGE) -> Instance:
    changes = Changes(lambda old: replace(old, image=image), ports)
    answer = update(world.deps, InstanceRequest(CALLER, TOOLBOX, instance.id), changes)
    assert isinstance(answer, Instance)
    return answer


def test_a_port_that_a_deploy_never_came_to_use_is_freed_by_an_update_without_it(world: World) -> None:
    instance = world.deploy(new(image="registry.test/nothing:1", ports=(20_001,)))
    world.deliver()
    assert patched(world, instance, []).settled
    assert world.documents(PORT_RESERVATIONS) == []


def test_a_deletion_that_is_made_again_takes_nothing_from_who_has_the_name_and_the_port_now(world: World) -> None:
    first = world.deploy(new(ports=(20_001,)))
    container = world.droplet.containers[first.container_name]
    world.delete(first.id)
    second = world.deploy(new(ports=(20_001,)))
    world.droplet.containers[container.name] = replace(container, state="exited")
    world.sweep()
    assert world.droplet.running() == [second.container_name] == list(world.droplet.containers)
    assert [claim["instance_id"] for claim in world.documents(PORT_RESERVATIONS)] == [second.id]
    assert [claim["instance_id"] for claim in world.documents(NAME_RESERVATIONS)] == [second.id]


def test_what_is_left_of_an_update_that_was_deleted_is_deleted_too(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    container = world.droplet.containers[instance.container_name]
    patched(world, instance, None, OTHER)
    world.delete(instance.id)
    world.deliver()
    world.droplet.containers[container.name] = replace(container, state="exited")
    world.sweep()
    world.sweep()
    stored = world.stored(instance)
    assert world.droplet.containers == {}
    assert (stored.settled, stored.lease, stored.due_at, stored.observed.obstacle) == (True, None, None, None)


def test_which_host_ports_were_left_open_and_which_were_asked_for_is_kept(world: World) -> None:
    instance = world.stored(world.deploy(new(ports=(0, 20_001, 30_000))))
    assert instance.spec.allocated == [instance.spec.ports[0], instance.spec.ports[2]]
    assert world.stored(patched(world, instance, None, OTHER)).spec.allocated == instance.spec.allocated


def test_a_patch_says_anew_which_host_ports_are_left_open(world: World) -> None:
    instance = world.deploy(new(ports=(0, 20_001)))
    first, second = instance.spec.ports
    patched(world, instance, [first, replace(second, host_port=0)])
    stored = world.stored(instance)
    assert (stored.spec.ports, stored.spec.allocated) == ([first, second], [second])
