"""Credentials that the backend exchanges reach their container: each newest value once, whatever is lost or late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.domain.account.model import AccountStatus
from functions.domain.errors import NotFound, Unavailable
from functions.domain.instance.model import Instance
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.status import AccountStatusChange
from functions.lifecycle.dependencies import Write
from functions.lifecycle.instance import rotation
from functions.lifecycle.instance.rotation import ROTATIONS, CredentialRotation
from tests.fakes.world import ACCOUNT, STRANGER, World, new

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def instance(world: World) -> Instance:
    return world.deploy(replace(new(), secrets={"A": "old-a", "B": "old-b"}))


def rotate(world: World, instance: Instance, minutes: int, account: str = ACCOUNT, **values: str) -> None:
    at = NOON + timedelta(minutes=minutes)
    rotation.receive(world.deps, CredentialRotation(f"msg_{minutes}_{values}", account, instance.id, at, values))


def running_with(world: World) -> dict[str, str]:
    [name] = world.droplet.running()
    return dict(world.droplet.environments[name])


def test_the_named_variables_are_replaced_and_the_container_is_made_anew(world: World, instance: Instance) -> None:
    before = world.droplet.running()
    rotate(world, instance, 1, A="new-a")
    world.deliver()
    assert running_with(world) == {"A": "new-a", "B": "old-b"}
    assert world.droplet.running() != before
    assert ("rotate_requested", "running", "deploying") in world.events(instance)


def test_values_are_at_rest_sealed_and_after_use_nowhere(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, A="planted-value")
    for collection in (ROTATIONS, "account_tool_instances", account_status.RECEIVED):
        assert "planted-value" not in json.dumps(world.documents(collection), default=str)
    world.deliver()
    assert [one["waiting"] for one in world.documents(ROTATIONS)] == [None]


def test_an_id_is_handled_once(world: World, instance: Instance) -> None:
    for _ in range(3):
        rotate(world, instance, 1, A="new-a")
        world.deliver()
    requested = [kind for kind, _, _ in world.events(instance) if kind == "rotate_requested"]
    assert len(requested) == 1


def test_of_each_variable_the_newest_value_holds_in_whatever_order_they_come(world: World, instance: Instance) -> None:
    rotate(world, instance, 2, A="newest-a")
    rotate(world, instance, 1, A="late-a", B="late-b")
    world.deliver()
    rotate(world, instance, 0, A="later-a")
    world.deliver()
    assert running_with(world) == {"A": "newest-a", "B": "late-b"}


def test_during_an_update_it_waits_and_then_follows(world: World, instance: Instance) -> None:
    world.droplet.reachable = False
    rotate(world, instance, 1, A="first")
    world.deliver()
    rotate(world, instance, 2, A="second")
    world.deliver()
    world.droplet.reachable = True
    for _ in range(4):
        world.sweep()
    assert running_with(world)["A"] == "second"


def test_of_a_suspended_account_it_is_there_when_the_account_is_resumed(world: World, instance: Instance) -> None:
    def told(standing: AccountStatus, minutes: int) -> None:
        at = NOON + timedelta(minutes=minutes)
        account_status.receive(world.deps, AccountStatusChange(f"msg_{minutes}", ACCOUNT, standing, at))
        world.deliver()
        world.deliver()

    told(AccountStatus.SUSPENDED, 1)
    rotate(world, instance, 2, A="new-a")
    world.deliver()
    assert world.droplet.running() == []
    told(AccountStatus.ACTIVE, 3)
    assert running_with(world)["A"] == "new-a"


def test_a_worker_that_dies_before_it_could_say_so_makes_no_container_twice(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, A="new-a")

    def dies(writes: Sequence[Write]) -> None:
        if writes[0].ref.collection == ROTATIONS:
            world.store.before_commit = lambda writes: None
            raise Unavailable("killed")

    world.store.before_commit = dies
    with pytest.raises(Unavailable):
        world.deliver()
    made = world.droplet.running()
    world.sweep()
    assert world.droplet.running() == made
    assert running_with(world)["A"] == "new-a"
    assert [one["due_at"] for one in world.documents(ROTATIONS)] == [None]


def test_somebody_elses_instance_cannot_be_told_from_none(world: World, instance: Instance) -> None:
    with pytest.raises(NotFound, match=f"the account has no instance '{instance.id}'"):
        rotate(world, instance, 1, account=STRANGER.account, A="x")
    world.delete(instance.id)
    with pytest.raises(NotFound):
        rotate(world, instance, 1, A="x")


def test_what_waits_for_an_instance_that_is_deleted_is_dropped(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, A="new-a")
    world.delete(instance.id)
    world.deliver()
    assert [(one["waiting"], one["due_at"]) for one in world.documents(ROTATIONS)] == [(None, None)]
