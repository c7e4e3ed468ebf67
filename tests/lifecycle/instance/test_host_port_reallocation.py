"""A host port that the control plane drew and the droplet refuses is drawn anew; one that was asked for is not."""

from collections import Counter
from collections.abc import Sequence

import pytest

from functions.domain.errors import Unavailable
from functions.domain.instance.host_port import MAX_REALLOCATIONS
from functions.domain.instance.model import InstanceStatus
from functions.lifecycle.dependencies import Create, Delete, Put, Replace, Write
from functions.lifecycle.repository import INSTANCES, PORT_RESERVATIONS, encode, instance_ref
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.world import TOOLBOX, World, new
from tests.lifecycle.instance.host_ports import DRAWN, claimed, host_ports, reallocations, refusing_the_first


def test_a_deploy_whose_drawn_port_is_taken_gets_another_one_within_the_request(world: World) -> None:
    refusing_the_first(world)
    instance = world.deploy(new(ports=(20_001, 0)))
    [old], (asked, drawn) = world.droplet.held_ports, host_ports(instance)
    assert (instance.status, instance.settled, asked) == (InstanceStatus.RUNNING, True, 20_001)
    assert (instance.desired.generation, instance.observed.generation) == (1, 1)
    assert world.droplet.running() == [f"tool-{instance.id}-g2"] == list(world.droplet.containers)
    assert [port.host_port for port in world.droplet.containers[instance.container_name].ports] == [20_001, drawn]
    assert claimed(world) == ["20001", str(drawn)]
    assert reallocations(world, instance) == [f"{old}/tcp is taken: {drawn} instead"]
    assert world.stored(instance).observed.refused_ports == []


def test_after_three_redraws_in_a_row_the_port_is_said_to_be_taken(world: World) -> None:
    world.droplet.held_ports = DRAWN
    instance = world.deploy(new(ports=(0,)))
    assert (instance.status, instance.settled) == (InstanceStatus.ERROR_INSTALL, True)
    assert instance.failure
    assert instance.failure.code == "port-taken"
    assert len(reallocations(world, instance)) == MAX_REALLOCATIONS == 3
    assert claimed(world) == [str(port) for port in host_ports(instance)]
    calls = len(world.droplet.calls)
    for _ in range(3):
        world.sweep()
    assert {call.partition("?")[0] for call in world.droplet.calls[calls:]} == {"GET /status"}
    again = world.start(instance.id)
    assert again.failure
    assert (again.failure.code, len(reallocations(world, instance))) == ("port-taken", MAX_REALLOCATIONS)
    world.droplet.held_ports = set()
    assert world.start(instance.id).status is InstanceStatus.RUNNING


def test_a_port_that_was_asked_for_by_its_number_stays_and_is_said_to_be_taken(world: World) -> None:
    world.droplet.held_ports = {20_001}
    instance = world.deploy(new(ports=(0, 20_001)))
    assert instance.failure
    assert (instance.failure.code, instance.status) == ("port-taken", InstanceStatus.ERROR_INSTALL)
    assert reallocations(world, instance) == []


def test_an_instance_of_which_no_document_says_who_chose_its_port_keeps_it(world: World) -> None:
    instance = world.stored(world.deploy(new(ports=(0,), start=False)))
    document = encode(instance)
    del document["spec"]["allocated"]
    world.store.commit([Delete(instance_ref(instance.id))])
    world.store.commit([Create(instance_ref(instance.id), document)])
    world.droplet.held_ports = DRAWN
    started = world.start(instance.id)
    assert started.failure
    assert (started.failure.code, reallocations(world, instance)) == ("port-taken", [])


def test_a_stopped_instance_whose_port_was_taken_meanwhile_starts_with_another_one(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.stop(instance.id)
    world.droplet.held_ports = set(host_ports(instance))
    started = world.start(instance.id)
    assert (started.status, started.desired.generation, started.observed.generation) == (InstanceStatus.RUNNING, 3, 3)
    assert world.droplet.running() == [f"tool-{instance.id}-g4"] == list(world.droplet.containers)
    assert host_ports(started) != host_ports(instance)
    assert claimed(world) == [str(port) for port in host_ports(started)]


def test_a_restart_whose_port_was_taken_meanwhile_ends_with_another_one_and_its_last_words_are_kept(
    world: World,
) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.droplet.held_ports = set(host_ports(instance))
    restarted = world.restart(instance.id)
    assert (restarted.status, restarted.settled) == (InstanceStatus.RUNNING, True)
    assert world.droplet.running() == [restarted.container_name] == list(world.droplet.containers)
    assert len(world.documents(f"{INSTANCES}/{instance.id}/post_mortems")) == 1
    assert "crashed" not in [kind for kind, _, _ in world.events(instance)]


def test_what_an_engine_that_lost_its_power_does_not_start_again_is_made_with_another_port(world: World) -> None:
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
        ("port_redrawn", None, None): 1,
        ("status_changed", InstanceStatus.STARTING, InstanceStatus.DEPLOYING): 1,
        ("status_changed", InstanceStatus.DEPLOYING, InstanceStatus.RUNNING): 1,
    }
    assert claimed(world) == [str(port) for port in host_ports(stored)]


def test_an_engine_that_keeps_all_that_a_container_had_is_given_none_of_it_again(world: World) -> None:
    instance = world.deploy(new(ports=(0, 0, 0, 0, 0)))
    world.stop(instance.id)
    world.droplet.held_ports = set(host_ports(instance))
    started = world.start(instance.id)
    assert started.status is InstanceStatus.RUNNING
    assert not set(host_ports(started)) & world.droplet.held_ports
    assert claimed(world) == sorted(map(str, host_ports(started)))
    assert len(reallocations(world, instance)) == 2


def test_each_loss_of_a_port_is_one_of_its_own_where_the_instance_ran_in_between(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    for _ in range(MAX_REALLOCATIONS + 2):
        world.droplet.held_ports |= set(host_ports(world.stored(instance)))
        assert world.restart(instance.id).status is InstanceStatus.RUNNING


def test_a_draw_that_meets_another_ones_claim_is_made_again(world: World) -> None:
    world.deploy(new("other", ports=(20_500,)))
    refusing_the_first(world)
    first, claimed_by_other, pause, free = 0.9, 0.05, 0.5, 0.2
    world.draws = iter([first, claimed_by_other, pause, free])
    instance = world.deploy(new(ports=(0,)))
    assert (instance.status, host_ports(instance)) == (InstanceStatus.RUNNING, [22_000])
    assert claimed(world) == ["20500", "22000"]


def test_the_old_claim_is_given_up_in_the_commit_that_makes_the_new_one_and_never_before_the_container_went(
    world: World,
) -> None:
    commits: list[tuple[set[str], set[str], list[str]]] = []

    def watch(writes: Sequence[Write]) -> None:
        made = {w.ref.id for w in writes if isinstance(w, Create) and w.ref.collection == PORT_RESERVATIONS}
        freed = {w.ref.id for w in writes if isinstance(w, Delete) and w.ref.collection == PORT_RESERVATIONS}
        if freed:
            commits.append((made, freed, list(world.droplet.containers)))
            assert any(isinstance(w, Replace) for w in writes)
            assert any(isinstance(w, Put) and w.data["type"] == "port_redrawn" for w in writes)

    refusing_the_first(world)
    world.store.before_commit = watch
    instance = world.deploy(new(ports=(0,)))
    [(made, freed, containers)] = commits
    assert (len(made), len(freed), containers) == (1, 1, [])
    assert made == {f"{TOOLBOX}:{host_ports(instance)[0]}:tcp"}


def test_a_stop_that_comes_while_the_port_is_drawn_anew_is_kept(world: World) -> None:
    instance = world.deploy(new(ports=(0,)))
    world.stop(instance.id)
    world.droplet.held_ports = set(host_ports(instance))

    def change_of_mind(route: Route, name: str) -> None:
        if route is routes.REMOVE:
            world.droplet.before_command = None
            world.stop(instance.id)
            world.time = began

    began = world.time
    world.droplet.before_command = change_of_mind
    world.start(instance.id)
    world.sweep()
    stored = world.stored(instance)
    assert (stored.status, stored.settled, world.droplet.running()) == (InstanceStatus.STOPPED, True, [])
    assert world.start(instance.id).status is InstanceStatus.RUNNING
    world.delete(instance.id)
    assert (world.droplet.containers, claimed(world)) == ({}, [])


@pytest.mark.parametrize("done", [True, False])
def test_a_redraw_whose_commit_was_not_answered_is_neither_lost_nor_doubled(world: World, done: bool) -> None:
    def lose(writes: Sequence[Write]) -> None:
        if any(isinstance(w, Delete) for w in writes):
            world.store.before_commit = world.store.after_commit = lambda writes: None
            raise Unavailable("the store did not answer")

    refusing_the_first(world)
    if done:
        world.store.after_commit = lose
    else:
        world.store.before_commit = lose
    instance = world.deploy(new(ports=(0,)))
    assert (instance.status, instance.settled) == (InstanceStatus.RUNNING, True)
    assert claimed(world) == [str(port) for port in host_ports(instance)]
    assert len(reallocations(world, instance)) == 1
