"""Credential rotation: the newest value of each variable reaches the container once, despite loss and reordering."""

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
from tests.fakes.world import ACCOUNT, OTHER_CALLER, World, new

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def instance(world: World) -> Instance:
    return world.deploy(replace(new(), secrets={"A": "old-a", "B": "old-b"}))


def rotate(world: World, instance: Instance, minutes: int, account: str = ACCOUNT, **values: str) -> None:
    at = NOON + timedelta(minutes=minutes)
    rotation.receive(world.deps, CredentialRotation(f"msg_{minutes}_{values}", account, instance.id, at, values))


def container_environment(world: World) -> dict[str, str]:
    [name] = world.droplet.running()
    return dict(world.droplet.environments[name])


def test_rotation_replaces_the_named_variables_and_the_container(world: World, instance: Instance) -> None:
    before = world.droplet.running()
    rotate(world, instance, 1, A="new-a")
    world.deliver()
    assert container_environment(world) == {"A": "new-a", "B": "old-b"}
    assert world.droplet.running() != before
    assert ("rotate_requested", "running", "deploying") in world.events(instance)


def test_rotated_values_are_stored_encrypted_and_erased_after_use(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, A="planted-value")
    for collection in (ROTATIONS, "account_tool_instances", account_status.RECEIVED):
        assert "planted-value" not in json.dumps(world.documents(collection), default=str)
    world.deliver()
    assert [rotation["waiting"] for rotation in world.documents(ROTATIONS)] == [None]


def test_message_id_is_handled_once(world: World, instance: Instance) -> None:
    for _ in range(3):
        rotate(world, instance, 1, A="new-a")
        world.deliver()
    requested = [event_type for event_type, _, _ in world.events(instance) if event_type == "rotate_requested"]
    assert len(requested) == 1


def test_newest_value_of_each_variable_wins_in_any_order(world: World, instance: Instance) -> None:
    rotate(world, instance, 2, A="newest-a")
    rotate(world, instance, 1, A="late-a", B="late-b")
    world.deliver()
    rotate(world, instance, 0, A="later-a")
    world.deliver()
    assert container_environment(world) == {"A": "newest-a", "B": "late-b"}


def test_rotation_during_an_update_is_applied_after_it(world: World, instance: Instance) -> None:
    world.droplet.reachable = False
    rotate(world, instance, 1, A="first")
    world.deliver()
    rotate(world, instance, 2, A="second")
    world.deliver()
    world.droplet.reachable = True
    for _ in range(4):
        world.sweep()
    assert container_environment(world)["A"] == "second"


def test_rotation_of_a_suspended_account_is_applied_at_its_resumption(world: World, instance: Instance) -> None:
    def receive_status(status: AccountStatus, minutes: int) -> None:
        at = NOON + timedelta(minutes=minutes)
        account_status.receive(world.deps, AccountStatusChange(f"msg_{minutes}", ACCOUNT, status, at))
        world.deliver()
        world.deliver()

    receive_status(AccountStatus.SUSPENDED, 1)
    rotate(world, instance, 2, A="new-a")
    world.deliver()
    assert world.droplet.running() == []
    receive_status(AccountStatus.ACTIVE, 3)
    assert container_environment(world)["A"] == "new-a"


def test_worker_death_before_the_record_replaces_the_container_once(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, A="new-a")

    def die(writes: Sequence[Write]) -> None:
        if writes[0].ref.collection == ROTATIONS:
            world.store.before_commit = lambda writes: None
            raise Unavailable("killed")

    world.store.before_commit = die
    with pytest.raises(Unavailable):
        world.deliver()
    replaced = world.droplet.running()
    world.sweep()
    assert world.droplet.running() == replaced
    assert container_environment(world)["A"] == "new-a"
    assert [rotation["due_at"] for rotation in world.documents(ROTATIONS)] == [None]


def test_instance_of_another_account_is_not_found(world: World, instance: Instance) -> None:
    with pytest.raises(NotFound, match=f"The account has no instance '{instance.id}'"):
        rotate(world, instance, 1, account=OTHER_CALLER.account, A="x")
    world.delete(instance.id)
    with pytest.raises(NotFound):
        rotate(world, instance, 1, A="x")


def test_rotation_for_a_deleted_instance_is_dropped(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, A="new-a")
    world.delete(instance.id)
    world.deliver()
    assert [(rotation["waiting"], rotation["due_at"]) for rotation in world.documents(ROTATIONS)] == [(None, None)]


def test_values_that_the_instance_can_never_have_are_dropped_once(world: World, instance: Instance) -> None:
    rotate(world, instance, 1, **{f"S{n}": "s" * 30_000 for n in range(5)})
    world.deliver()
    assert [rotation["waiting"] for rotation in world.documents(ROTATIONS)] == [None]
    assert container_environment(world) == {"A": "old-a", "B": "old-b"}
    rotate(world, instance, 2, A="new-a")
    world.deliver()
    assert container_environment(world) == {"A": "new-a", "B": "old-b"}
