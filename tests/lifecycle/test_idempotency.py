"""Idempotency-Key: a repeated request gets the stored answer and is not executed again."""

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
from tests.fakes.store import ForwardingStore
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, World, new


def key(name: str = "key-1", fingerprint: str = "f", account: str = ACCOUNT) -> Replay[Instance]:
    return Replay(account, name, fingerprint, lambda instance: (201, {"id": instance.id, "status": instance.status}))


def test_repeated_deploy_gets_the_stored_answer(world: World) -> None:
    first = world.deploy(replay=key())
    calls = len(world.droplet.calls)
    assert deploy(world.deps, CALLER, TOOLBOX, new(), key()) == (201, {"id": first.id, "status": "running"})
    assert len(world.droplet.calls) == calls
    assert len(world.documents()) == 1


def test_key_reused_with_another_body_is_refused(world: World) -> None:
    world.deploy(replay=key())
    with pytest.raises(KeyReused):
        deploy(world.deps, CALLER, TOOLBOX, new("other"), key(fingerprint="g"))
    assert len(world.documents()) == 1


def test_keys_of_two_accounts_are_independent(world: World) -> None:
    first = world.deploy(replay=key())
    assert key().ref != key(account="account-b").ref
    assert world.deploy(new("other"), replay=key("key-2")).id != first.id


def test_repeated_restart_restarts_once(world: World) -> None:
    instance = world.deploy()
    request = InstanceRequest(CALLER, TOOLBOX, instance.id, key())
    change.restart(world.deps, request)
    started_at = world.droplet.containers[instance.container_name].started_at
    answer = change.restart(world.deps, request)
    assert answer == (201, {"id": instance.id, "status": "running"})
    assert world.droplet.containers[instance.container_name].started_at == started_at


def test_repeat_completes_the_work_of_a_dead_first_attempt(world: World) -> None:
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


def test_answer_that_is_not_final_is_not_stored(world: World) -> None:
    world.droplet.reachable = False
    first = world.deploy(replay=key())
    assert not first.settled
    world.droplet.reachable = True
    world.sweep()
    again = deploy(world.deps, CALLER, TOOLBOX, new(), key())
    assert isinstance(again, Instance)
    assert (again.id, again.status) == (first.id, InstanceStatus.RUNNING)


def test_key_expires_after_a_day_even_while_its_document_exists(world: World) -> None:
    instance = world.deploy()
    request = InstanceRequest(CALLER, TOOLBOX, instance.id, key())
    change.stop(world.deps, request)
    world.start(instance.id)
    world.pass_time(timedelta(hours=24, seconds=1).total_seconds())
    assert isinstance(change.stop(world.deps, request), Instance)
    assert world.droplet.running() == []


def test_repeat_during_its_first_attempt_is_not_refused(world: World) -> None:
    instance = world.deploy()
    changes = Changes(lambda old: replace(old, image="registry.test/pulled:1"))
    request = InstanceRequest(CALLER, TOOLBOX, instance.id, key())
    first_answers: list[object] = []

    class FirstAttemptAfterRead(ForwardingStore):
        def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
            found = super().get(refs)
            if not first_answers and refs == [key().ref]:
                first_answers.append(update(world.deps, request, changes))
            return found

    again = update(replace(world.deps, store=FirstAttemptAfterRead(world.store)), request, changes)
    assert first_answers
    assert isinstance(again, Instance)
    assert again.desired.generation == 2
