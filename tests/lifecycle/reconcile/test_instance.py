"""The loop under contention: leases, lost answers, and a change of mind."""

import itertools
from collections.abc import Sequence

import pytest

from functions.domain.errors import Conflict, Unavailable
from functions.domain.instance.model import DesiredState, Instance, InstanceStatus
from functions.lifecycle.dependencies import Task, Write
from functions.lifecycle.reconcile.instance import run
from functions.lifecycle.repository import decode, instance_ref
from shim.contract import errors as shim_errors
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.world import World, new


def stored(world: World, instance: Instance) -> Instance:
    loaded = decode(Instance, world.store.get([instance_ref(instance.id)])[0])
    assert loaded
    return loaded.value


def test_a_change_of_mind_while_a_worker_holds_the_lease_is_taken_up_by_it(world: World) -> None:
    instance = world.deploy(new())

    def change_of_mind(route: Route, name: str) -> None:
        if route is routes.STOP:
            world.droplet.before_command = None
            answer = world.start(instance.id)
            assert not answer.settled  # It waited its whole budget, since the holder stands still meanwhile.
            world.time = started

    started = world.time
    world.droplet.before_command = change_of_mind
    world.stop(instance.id)
    final = stored(world, instance)
    assert (final.status, final.desired.state, final.settled) == (InstanceStatus.RUNNING, DesiredState.RUNNING, True)
    assert world.droplet.running() == [instance.container_name]


def test_a_worker_that_died_is_followed_by_the_sweep_once_its_lease_and_the_grace_have_passed(world: World) -> None:
    def die(route: Route, name: str) -> None:
        raise KeyboardInterrupt

    world.droplet.before_command = die
    with pytest.raises(KeyboardInterrupt):
        world.deploy(new())
    world.droplet.before_command = None
    [document] = world.documents()
    world.sweep(35)
    assert world.droplet.containers == {}
    world.sweep(10)
    assert world.droplet.running() == [f"tool-{document['id']}-g1"]


def test_what_a_dead_worker_did_last_is_looked_at_before_it_is_believed(world: World) -> None:
    """It had started the container, and saved nothing of it, when the account asks for the opposite."""
    instance = world.deploy(new())
    world.stop(instance.id)

    def die(writes: Sequence[Write]) -> None:
        if world.droplet.running():
            raise KeyboardInterrupt

    world.store.before_commit = die
    with pytest.raises(KeyboardInterrupt):
        world.start(instance.id)
    world.store.before_commit = lambda writes: None
    world.stop(instance.id)
    world.pass_time(60)
    run(world.deps, Task("instance", instance.id))
    assert world.droplet.running() == []


def test_a_worker_whose_lease_was_taken_over_begins_nothing_more(world: World) -> None:
    """The first worker sleeps before its start for so long that a second one does all the work."""

    def sleep(route: Route, name: str) -> None:
        if route is routes.START:
            world.droplet.before_command = None
            world.sweep(45)
            calls.extend(call for call in world.droplet.calls if "/tools/" in call)

    calls: list[str] = []
    world.droplet.before_command = sleep
    instance = world.deploy(new())
    assert calls[-1].endswith("/start")
    # The command that was on its way was refused by its start-by time; the container was started once, by the other.
    assert world.droplet.containers[instance.container_name].endpoint_id.endswith("2Z")
    assert stored(world, instance).status is InstanceStatus.RUNNING


def test_a_message_delivered_again_changes_nothing(world: World) -> None:
    instance = world.deploy(new())
    calls = len(world.droplet.calls)
    for _ in range(3):
        run(world.deps, Task("instance", instance.id))
    run(world.deps, Task("instance", "00000000-0000-4000-8000-000000000000"))
    assert len(world.droplet.calls) == calls


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("number", [1, 2])
def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled(world: World, number: int, done: bool) -> None:
    """`done`: the commit happened although the store said Unavailable."""
    commits = itertools.count(1)

    def lose(writes: Sequence[Write]) -> None:
        if next(commits) == number:
            raise Unavailable("the store did not answer")

    if done:
        world.store.after_commit = lose
    else:
        world.store.before_commit = lose
    if number == 1 and not done:
        with pytest.raises(Unavailable):
            world.deploy(new())
        assert world.documents() == []
        return
    instance = world.deploy(new())
    assert stored(world, instance).status is InstanceStatus.RUNNING
    assert len(world.events(instance)) == 2


def test_a_queue_that_is_down_costs_time_and_nothing_else(world: World) -> None:
    world.queue.down = True
    world.droplet.registry["registry.test/other:2"] = None
    instance = world.deploy(new(image="registry.test/other:2"))
    world.queue.down = False
    world.sweep()
    assert stored(world, instance).status is InstanceStatus.RUNNING


def test_a_store_that_refuses_every_commit_says_so(world: World) -> None:
    def refuse(writes: Sequence[Write]) -> None:
        raise Conflict("refused")

    instance = world.deploy(new())
    world.store.before_commit = refuse
    with pytest.raises(Unavailable):
        world.stop(instance.id)
    assert world.droplet.running() == [instance.container_name]


def test_progress_of_a_pull_is_shown_and_renews_the_lease(world: World) -> None:
    shown = []

    def watch(route: Route, name: str) -> None:
        if route is routes.PULL:
            world.pass_time(6)

    world.droplet.registry["registry.test/other:2"] = shim_errors.RegistryUnreachable("cut")
    instance = world.deploy(new(image="registry.test/other:2"))
    world.droplet.before_command = watch

    def watched(writes: Sequence[Write]) -> None:
        shown.append((stored(world, instance).observed.progress, stored(world, instance).lease))

    world.store.after_commit = watched
    world.deliver()
    progresses = [(progress.bytes_total, lease) for progress, lease in shown if progress]
    assert [total for total, _ in progresses] == [2]
    assert progresses[0][1]
