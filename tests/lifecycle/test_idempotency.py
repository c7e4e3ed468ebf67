"""Idempotency-Key: sent again, answered again, never done again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.errors import KeyReused
from functions.domain.instance.model import Instance, InstanceStatus
from functions.lifecycle.dependencies import Ref, Snapshot
from functions.lifecycle.idempotency import Replay
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import deploy
from shim.contract.routes import Route
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, World, new


def key(name: str = "key-1", fingerprint: str = "f", account: str = ACCOUNT) -> Replay[Instance]:
    return Replay(account, name, fingerprint, lambda instance: (201, {"id": instance.id, "status": instance.status}))


def test_a_deploy_sent_again_is_answered_with_the_stored_answer(world: World) -> None:
    first = world.deploy(replay=key())
    calls = len(world.droplet.calls)
    assert deploy(world.deps, CALLER, TOOLBOX, new(), key()) == (201, {"id": first.id, "status": "running"})
    assert len(world.droplet.calls) == calls
    assert len(world.documents()) == 1


def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    world.deploy(replay=key())
    with pytest.raises(KeyReused):
        deploy(world.deps, CALLER, TOOLBOX, new("other"), key(fingerprint="g"))
    assert len(world.documents()) == 1


def test_the_same_key_of_another_account_is_another_key(world: World) -> None:
    first = world.deploy(replay=key())
    assert key().ref != key(account="account-b").ref
    assert world.deploy(new("other"), replay=key("key-2")).id != first.id


def test_a_restart_sent_again_restarts_once(world: World) -> None:
    instance = world.deploy()
    asked = InstanceRequest(CALLER, TOOLBOX, instance.id, key())
    change.restart(world.deps, asked)
    started_at = world.droplet.containers[instance.container_name].started_at
    answer = change.restart(world.deps, asked)
    assert answer == (201, {"id": instance.id, "status": "running"})
    assert world.droplet.containers[instance.container_name].started_at == started_at


def test_a_first_attempt_that_died_is_converged_by_its_repeat(world: World) -> None:
    def die(route: Route, name: str) -> None:
        raise KeyboardInterrupt

    world.droplet.before_command = die
    with pytest.raises(KeyboardInterrupt):
        world.deploy(replay=key())
    world.droplet.before_command = None
    world.pass_time(60)
    answer = deploy(world.deps, CALLER, TOOLBOX, new(), key())
    assert isinstance(answer, Instance)
    assert answer.status is InstanceStatus.RUNNING
    assert len(world.documents()) == 1


def test_an_answer_that_was_not_final_is_not_stored(world: World) -> None:
    world.droplet.reachable = False
    first = world.deploy(replay=key())
    assert not first.settled
    world.droplet.reachable = True
    world.sweep()
    again = deploy(world.deps, CALLER, TOOLBOX, new(), key())
    assert isinstance(again, Instance)
    assert (again.id, again.status) == (first.id, InstanceStatus.RUNNING)


def test_a_key_expires_after_a_day_by_the_clock_and_not_by_its_removal(world: World) -> None:
    instance = world.deploy()
    asked = InstanceRequest(CALLER, TOOLBOX, instance.id, key())
    change.stop(world.deps, asked)
    world.start(instance.id)
    world.pass_time(timedelta(hours=24, seconds=1).total_seconds())
    assert isinstance(change.stop(world.deps, asked), Instance)
    assert world.droplet.running() == []


def test_a_repeat_that_meets_its_own_first_attempt_halfway_is_not_refused_by_it(world: World) -> None:
    instance = world.deploy()
    changes = Changes(lambda old: replace(old, image="registry.test/pulled:1"))
    asked = InstanceRequest(CALLER, TOOLBOX, instance.id, key())
    reads = world.store.get
    first: list[object] = []

    def first_attempt_between_two_reads(refs: Sequence[Ref]) -> list[Snapshot | None]:
        found = reads(refs)
        if not first and refs == [key().ref]:
            first.append(None)
            first[0] = update(world.deps, asked, changes)
        return found

    world.store.get = first_attempt_between_two_reads
    again = update(world.deps, asked, changes)
    assert isinstance(again, Instance)
    assert again.desired.generation == 2
