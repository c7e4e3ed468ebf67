"""Reservations of names and host ports: who holds one, and when it is released."""

from dataclasses import replace

from functions.lifecycle.repository import NAME_RESERVATIONS, PORT_RESERVATIONS
from tests.fakes.droplet import IMAGE
from tests.fakes.world import World, new
from tests.lifecycle.updates import OTHER_IMAGE, patch


def test_update_releases_a_port_that_the_failed_deploy_never_used(world: World) -> None:
    instance = world.deploy(new(image="registry.test/nothing:1", ports=(20_001,)))
    world.deliver()
    assert patch(world, instance, [], image=IMAGE).settled
    assert world.documents(PORT_RESERVATIONS) == []


def test_repeated_deletion_leaves_the_reservations_of_the_new_holder(world: World) -> None:
    first = world.deploy(new(ports=(20_001,)))
    container = world.droplet.containers[first.container_name]
    world.delete(first.id)
    second = world.deploy(new(ports=(20_001,)))
    world.droplet.containers[container.name] = replace(container, state="exited")
    world.sweep()
    assert world.droplet.running() == [second.container_name] == list(world.droplet.containers)
    assert [reservation["instance_id"] for reservation in world.documents(PORT_RESERVATIONS)] == [second.id]
    assert [reservation["instance_id"] for reservation in world.documents(NAME_RESERVATIONS)] == [second.id]


def test_container_left_by_an_update_is_removed_after_the_deletion(world: World) -> None:
    instance = world.deploy(new(ports=(20_001,)))
    container = world.droplet.containers[instance.container_name]
    patch(world, instance, image=OTHER_IMAGE)
    world.delete(instance.id)
    world.deliver()
    world.droplet.containers[container.name] = replace(container, state="exited")
    world.sweep()
    world.sweep()
    stored = world.stored(instance)
    assert world.droplet.containers == {}
    assert (stored.settled, stored.lease, stored.due_at, stored.observed.obstacle) == (True, None, None, None)


def test_spec_records_which_host_ports_were_allocated(world: World) -> None:
    instance = world.stored(world.deploy(new(ports=(0, 20_001, 30_000))))
    assert instance.spec.allocated == [instance.spec.ports[0], instance.spec.ports[2]]
    assert world.stored(patch(world, instance, image=OTHER_IMAGE)).spec.allocated == instance.spec.allocated


def test_patch_changes_which_host_ports_are_allocated(world: World) -> None:
    instance = world.deploy(new(ports=(0, 20_001)))
    first, second = instance.spec.ports
    patch(world, instance, [first, replace(second, host_port=0)], image=IMAGE)
    stored = world.stored(instance)
    assert (stored.spec.ports, stored.spec.allocated) == ([first, second], [second])
