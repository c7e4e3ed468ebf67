"""Idempotency-Key: a repeated request gets the stored answer and is not executed again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.errors import KeyReused
from functions.domain.instance.model import Instance, InstanceStatus
from functions.lifecycle.dependencies import Dependencies, Ref, Snapshot
from functions.lifecycle.idempotency import CommitHook, KeyedRequest, RequestKey, StoredAnswer, run_once
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import NewInstance, deploy
from shim.contract.routes import Route
from tests.fakes.store import ForwardingStore
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, World, new

Answer = Instance | StoredAnswer
KEY = RequestKey(ACCOUNT, "key-1", "f")


def once(deps: Dependencies, first: Callable[[CommitHook], Instance], key: RequestKey = KEY) -> Answer:
    """The request `first` under a key, as the web runs it."""

    def render(instance: Instance) -> StoredAnswer:
        return StoredAnswer(201, {"id": instance.id, "status": instance.status})

    return run_once(KeyedRequest(deps, key, render), first, lambda about, _: change.resume(deps, about))


def deploy_once(world: World, wanted: NewInstance | None = None, key: RequestKey = KEY) -> Answer:
    return once(world.deps, lambda commit: deploy(world.deps, CALLER, TOOLBOX, wanted or new(), commit), key)


def deployed_once(world: World, wanted: NewInstance | None = None, key: RequestKey = KEY) -> Instance:
    answer = deploy_once(world, wanted, key)
    assert isinstance(answer, Instance)
    return answer


def change_once(world: World, verb: Callable[[Dependencies, InstanceRequest], Instance], instance: Instance) -> Answer:
    def first(commit: CommitHook) -> Instance:
        return verb(world.deps, InstanceRequest(CALLER, TOOLBOX, instance.id, commit))

    return once(world.deps, first)


def test_repeated_deploy_gets_the_stored_answer(world: World) -> None:
    first = deployed_once(world)
    calls = len(world.droplet.calls)
    assert deploy_once(world) == (201, {"id": first.id, "status": "running"})
    assert len(world.droplet.calls) == calls
    assert len(world.documents()) == 1


def test_key_reused_with_another_body_is_refused(world: World) -> None:
    deployed_once(world)
    with pytest.raises(KeyReused):
        deploy_once(world, new("other"), replace(KEY, fingerprint="g"))
    assert len(world.documents()) == 1


def test_keys_of_two_accounts_are_independent(world: World) -> None:
    first = deployed_once(world)
    assert KEY.ref != replace(KEY, account="account-b").ref
    assert deployed_once(world, new("other"), replace(KEY, key="key-2")).id != first.id


def test_repeated_restart_restarts_once(world: World) -> None:
    instance = world.deploy()
    change_once(world, change.restart, instance)
    started_at = world.droplet.containers[instance.container_name].started_at
    answer = change_once(world, change.restart, instance)
    assert answer == (201, {"id": instance.id, "status": "running"})
    assert world.droplet.containers[instance.container_name].started_at == started_at


def test_repeat_completes_the_work_of_a_dead_first_attempt(world: World) -> None:
    def die(route: Route, name: str) -> None:
        raise KeyboardInterrupt

    world.droplet.before_command = die
    with pytest.raises(KeyboardInterrupt):
        deployed_once(world)
    world.droplet.before_command = None
    world.pass_time(60)
    answer = deploy_once(world)
    assert isinstance(answer, Instance)
    assert answer.status is InstanceStatus.RUNNING
    assert len(world.documents()) == 1


def test_answer_that_is_not_final_is_not_stored(world: World) -> None:
    world.droplet.reachable = False
    first = deployed_once(world)
    assert not first.settled
    world.droplet.reachable = True
    world.sweep()
    again = deploy_once(world)
    assert isinstance(again, Instance)
    assert (again.id, again.status) == (first.id, InstanceStatus.RUNNING)


def test_key_expires_after_a_day_even_while_its_document_exists(world: World) -> None:
    instance = world.deploy()
    change_once(world, change.stop, instance)
    world.start(instance.id)
    world.pass_time(timedelta(hours=24, seconds=1).total_seconds())
    assert isinstance(change_once(world, change.stop, instance), Instance)
    assert world.droplet.running() == []


def test_repeat_during_its_first_attempt_is_not_refused(world: World) -> None:
    instance = world.deploy()
    changes = Changes(lambda old: replace(old, image="registry.test/pulled:1"))
    first_answers: list[object] = []

    def attempt(deps: Dependencies) -> Answer:
        return once(deps, lambda commit: update(deps, InstanceRequest(CALLER, TOOLBOX, instance.id, commit), changes))

    class FirstAttemptAfterRead(ForwardingStore):
        def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
            found = super().get(refs)
            if not first_answers and refs == [KEY.ref]:
                first_answers.append(attempt(world.deps))
            return found

    again = attempt(replace(world.deps, store=FirstAttemptAfterRead(world.store)))
    assert first_answers
    assert isinstance(again, Instance)
    assert again.desired.generation == 2
