"""The instance reconciler under contention: leases, lost answers, and requests that arrive meanwhile."""

import itertools
from collections.abc import Sequence

import pytest

from functions.domain.errors import Conflict, Unavailable
from functions.domain.instance.model import DesiredState, InstanceStatus
from functions.lifecycle.dependencies import Write
from functions.lifecycle.reconcile.instance import run
from shim.contract import errors as shim_errors
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.world import World, new


def test_request_during_a_reconcile_is_applied_by_the_lease_holder(world: World) -> None:
    instance = world.deploy(new())

    def start_during_stop(route: Route, name: str) -> None:
        if route is routes.STOP:
            world.droplet.before_command = None
            answer = world.start(instance.id)
            # This request waited for its whole time budget, because the lease holder does not run meanwhile.
            assert not answer.settled
            world.time = started_at

    started_at = world.time
    world.droplet.before_command = start_during_stop
    world.stop(instance.id)
    final = world.stored(instance)
    assert (final.status, final.desired.state, final.settled) == (InstanceStatus.RUNNING, DesiredState.RUNNING, True)
    assert world.droplet.running() == [instance.container_name]


def test_sweep_resumes_a_dead_workers_reconcile_after_lease_and_grace(world: World) -> None:
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


def test_last_command_of_a_dead_worker_is_inspected_before_it_is_trusted(world: World) -> None:
    """The worker started the container and died before the save; then the account requests a stop."""
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
    run(world.deps, instance.id)
    assert world.droplet.running() == []


def test_worker_that_lost_its_lease_sends_no_further_command(world: World) -> None:
    """The first worker pauses before its start command until a second worker has done all the work."""

    def pause(route: Route, name: str) -> None:
        if route is routes.START:
            world.droplet.before_command = None
            world.sweep(45)
            calls.extend(call for call in world.droplet.calls if "/tools/" in call)

    calls: list[str] = []
    world.droplet.before_command = pause
    instance = world.deploy(new())
    assert calls[-1].endswith("/start")
    # The first worker's command was refused (start-by time passed); the second worker started the container.
    assert world.droplet.containers[instance.container_name].endpoint_id.endswith("2Z")
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_redelivered_task_sends_no_command(world: World) -> None:
    instance = world.deploy(new())
    calls = len(world.droplet.calls)
    for _ in range(3):
        run(world.deps, instance.id)
    run(world.deps, "00000000-0000-4000-8000-000000000000")
    assert len(world.droplet.calls) == calls


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("number", [1, 2])
def test_commit_with_a_lost_answer_happens_exactly_once(world: World, number: int, committed: bool) -> None:
    """`committed`: the commit happened although the store answered Unavailable."""
    commits = itertools.count(1)

    def lose(writes: Sequence[Write]) -> None:
        if next(commits) == number:
            raise Unavailable("the store did not answer")

    if committed:
        world.store.after_commit = lose
    else:
        world.store.before_commit = lose
    if number == 1 and not committed:
        with pytest.raises(Unavailable):
            world.deploy(new())
        assert world.documents() == []
        return
    instance = world.deploy(new())
    assert world.stored(instance).status is InstanceStatus.RUNNING
    assert len(world.events(instance)) == 2


def test_deploy_completes_by_the_sweep_when_the_queue_is_down(world: World) -> None:
    world.queue.down = True
    world.droplet.registry["registry.test/other:2"] = None
    instance = world.deploy(new(image="registry.test/other:2"))
    world.queue.down = False
    world.sweep()
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_stop_fails_with_unavailable_when_every_commit_conflicts(world: World) -> None:
    def refuse(writes: Sequence[Write]) -> None:
        raise Conflict("refused")

    instance = world.deploy(new())
    world.store.before_commit = refuse
    with pytest.raises(Unavailable):
        world.stop(instance.id)
    assert world.droplet.running() == [instance.container_name]


def test_pull_progress_is_saved_and_renews_the_lease(world: World) -> None:
    saved = []

    def pass_six_seconds(route: Route, name: str) -> None:
        if route is routes.PULL:
            world.pass_time(6)

    world.droplet.registry["registry.test/other:2"] = shim_errors.RegistryUnreachable("cut")
    instance = world.deploy(new(image="registry.test/other:2"))
    world.droplet.before_command = pass_six_seconds

    def record(writes: Sequence[Write]) -> None:
        saved.append((world.stored(instance).observed.progress, world.stored(instance).lease))

    world.store.after_commit = record
    world.deliver()
    progresses = [(progress.bytes_total, lease) for progress, lease in saved if progress]
    assert [total for total, _ in progresses] == [2]
    assert progresses[0][1]
