"""A host port that the droplet refuses is replaced if it was allocated, and kept if the account requested it."""

from collections import Counter
from collections.abc import Sequence

import pytest

from functions.domain.errors import Unavailable
from functions.domain.instance.host_port import MAX_REALLOCATIONS
from functions.domain.instance.model import InstanceStatus
from functions.lifecycle.dependencies import Create, Delete, Put, Replace, Write
from functions.lifecycle.repository import INSTANCES, PORT_RESERVATIONS, instance_ref
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.stored import encode
from tests.fakes.world import TOOLBOX, World, new
from tests.lifecycle.instance.host_ports import (
    ALLOCATABLE,
    host_ports,
    occupy_ports_at_first_start,
    reallocations,
    reserved_ports,
)


def test_deploy_reallocates_a_taken_port_within_the_request(world: World) -> None:
    occupy_ports_at_first_start(world)
    instance = world.deploy(new(ports=(20_001, 0)))
    [held_port], (requested, reallocated) = world.droplet.held_ports, host_ports(instance)
    assert (instance.status, instance.settled, requested) == (InstanceStatus.RUNNING, True, 20_001)
    assert (instance.desired.generation, instance.observed.generation) == (1, 1)
    assert world.droplet.running() == [f"tool-{instance.id}-g2"] == list(world.droplet.containers)
    assert [port.host_port for port in world.droplet.containers[instance.container_name].ports] == [20_001, reallocated]
    assert reserved_ports(world) == ["20001", str(reallocated)]
    assert reallocations(world, instance) == [f"{held_port}/tcp is in use: {reallocated} instead"]
    assert world.stored(instance).observed.refused_ports == []


def test_deploy_fails_with_port_taken_after_three_reallocations(world: World) -> None:
    world.droplet.held_ports = ALLOCATABLE
    instance = world.deploy(new(ports=(0,)))
    assert (instance.status, instance.settled) == (InstanceStatus.ERROR_INSTALL, True)
    assert instance.failure
    assert instance.failure.code == "port-taken"
    assert len(reallocations(world, instance)) == MAX_REALLOCATIONS == 3
    assert reserved_ports(world) == [str(port) for port in host_ports(instance)]
    calls = len(world.droplet.calls)
    for _ in range(3):
        world.sweep()
    assert {call.partition("?")[0] for call in world.droplet.calls[calls:]} == {"GET /status"}
    again = world.start(instance.id)
    assert again.failure
    assert (again.failure.code, len(reallocations(world, instance))) == ("port-taken", MAX_REALLOCATIONS)
    world.droplet.held_ports = set()
    assert world.start(instance.id).status is InstanceStatus.RUNNING


def test_requested_port_that_is_taken_fails_without_reallocation(world: World) -> None:
    world.droplet.held_ports = {20_001}
    instance = world.deploy(new(ports=(0, 20_001)))
    assert instance.failure
    assert (instance.failure.code, instance.status) == ("port-taken", InstanceStatus.ERROR_INSTALL)
    assert reallocations(world, instance) == []


def test_port_without_a_record_of_its_allocation_counts_as_requested(world: World) -> None:
    instance = world.stored(world.deploy(new(ports=(0,), start=False)))
    document = encode(instance)
    document["spec"]["allocated"] = []
    world.store.commit([Delete(instance_ref(instance.id))])
    world.store.commit([Create(instance_ref(instance.id), document)])
    world.droplet.held_ports = ALLOCATABLE
    started = world.start(instance.id)
    assert started.failure
    assert (started.failure.code, reallocations(world, instance)) == ("port-taken", [])


def test_start_reallocates_a_port_taken_while_stopped(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.stop(instance.id)
    world.droplet.held_ports = set(host_ports(instance))
    started = world.start(instance.id)
    assert (started.status, started.desired.generation, started.observed.generation) == (InstanceStatus.RUNNING, 3, 3)
    assert world.droplet.running() == [f"tool-{instance.id}-g4"] == list(world.droplet.containers)
    assert host_ports(started) != host_ports(instance)
    assert reserved_ports(world) == [str(port) for port in host_ports(started)]


def test_restart_reallocates_a_taken_port_and_keeps_a_post_mortem(
    world: World,
) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.droplet.held_ports = set(host_ports(instance))
    restarted = world.restart(instance.id)
    assert (restarted.status, restarted.settled) == (InstanceStatus.RUNNING, True)
    assert world.droplet.running() == [restarted.container_name] == list(world.droplet.containers)
    assert len(world.documents(f"{INSTANCES}/{instance.id}/post_mortems")) == 1
    assert "crashed" not in [event_type for event_type, _, _ in world.events(instance)]


def test_crashed_instance_whose_port_is_held_gets_another_port(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.sweep()
    world.droplet.die(instance.container_name, exit_code=137)
    world.droplet.held_ports = set(host_ports(instance))
    world.sweep()
    stored = world.stored(instance)
    assert (stored.status, stored.desired.generation, stored.settled) == (InstanceStatus.RUNNING, 1, True)
    assert world.droplet.running() == [stored.container_name] == [f"tool-{instance.id}-g2"]
    assert Counter(world.events(instance)[2:]) == {
        ("crashed", InstanceStatus.RUNNING, InstanceStatus.STARTING): 1,
        ("status_changed", InstanceStatus.RUNNING, InstanceStatus.STARTING): 1,
        ("port_reallocated", None, None): 1,
        ("status_changed", InstanceStatus.STARTING, InstanceStatus.DEPLOYING): 1,
        ("status_changed", InstanceStatus.DEPLOYING, InstanceStatus.RUNNING): 1,
    }
    assert reserved_ports(world) == [str(port) for port in host_ports(stored)]


def test_start_reallocates_all_ports_when_the_engine_holds_all_of_them(world: World) -> None:
    instance = world.deploy(new(ports=(0, 0, 0, 0, 0)))
    world.stop(instance.id)
    world.droplet.held_ports = set(host_ports(instance))
    started = world.start(instance.id)
    assert started.status is InstanceStatus.RUNNING
    assert not set(host_ports(started)) & world.droplet.held_ports
    assert reserved_ports(world) == sorted(map(str, host_ports(started)))
    assert len(reallocations(world, instance)) == 2


def test_reallocation_limit_starts_over_once_the_instance_ran(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    for _ in range(MAX_REALLOCATIONS + 2):
        world.droplet.held_ports |= set(host_ports(world.stored(instance)))
        assert world.restart(instance.id).status is InstanceStatus.RUNNING


def test_reallocation_skips_a_port_reserved_by_another_instance(world: World) -> None:
    world.deploy(new("other", ports=(20_500,)))
    occupy_ports_at_first_start(world)
    first, reserved_by_other, pause, free = 0.9, 0.05, 0.5, 0.2
    world.draws = iter([first, reserved_by_other, pause, free])
    instance = world.deploy(new(ports=(0,)))
    assert (instance.status, host_ports(instance)) == (InstanceStatus.RUNNING, [22_000])
    assert reserved_ports(world) == ["20500", "22000"]


def test_reallocation_swaps_reservations_in_one_commit_after_the_removal(
    world: World,
) -> None:
    commits: list[tuple[set[str], set[str], list[str]]] = []

    def watch(writes: Sequence[Write]) -> None:
        ports = [write for write in writes if write.ref.collection == PORT_RESERVATIONS]
        created = {write.ref.id for write in ports if isinstance(write, Create)}
        deleted = {write.ref.id for write in ports if isinstance(write, Delete)}
        if deleted:
            commits.append((created, deleted, list(world.droplet.containers)))
            assert any(isinstance(write, Replace) for write in writes)
            assert any(isinstance(write, Put) and write.data["type"] == "port_reallocated" for write in writes)

    occupy_ports_at_first_start(world)
    world.store.before_commit = watch
    instance = world.deploy(new(ports=(0,)))
    [(created, deleted, containers)] = commits
    assert (len(created), len(deleted), containers) == (1, 1, [])
    assert created == {f"{TOOLBOX}:{host_ports(instance)[0]}:tcp"}


def test_stop_during_a_reallocation_is_kept(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.stop(instance.id)
    world.droplet.held_ports = set(host_ports(instance))

    def stop_during_removal(route: Route, name: str) -> None:
        if route is routes.REMOVE:
            world.droplet.before_command = None
            world.stop(instance.id)
            world.time = started_at

    started_at = world.time
    world.droplet.before_command = stop_during_removal
    world.start(instance.id)
    world.sweep()
    stored = world.stored(instance)
    assert (stored.status, stored.settled, world.droplet.running()) == (InstanceStatus.STOPPED, True, [])
    assert world.start(instance.id).status is InstanceStatus.RUNNING
    world.delete(instance.id)
    assert (world.droplet.containers, reserved_ports(world)) == ({}, [])


@pytest.mark.parametrize("committed", [True, False])
def test_reallocation_with_a_lost_commit_answer_happens_exactly_once(world: World, committed: bool) -> None:
    def lose(writes: Sequence[Write]) -> None:
        if any(isinstance(write, Delete) for write in writes):
            world.store.before_commit = world.store.after_commit = lambda writes: None
            raise Unavailable("the store did not answer")

    occupy_ports_at_first_start(world)
    if committed:
        world.store.after_commit = lose
    else:
        world.store.before_commit = lose
    instance = world.deploy(new(ports=(0,)))
    assert (instance.status, instance.settled) == (InstanceStatus.RUNNING, True)
    assert reserved_ports(world) == [str(port) for port in host_ports(instance)]
    assert len(reallocations(world, instance)) == 1
