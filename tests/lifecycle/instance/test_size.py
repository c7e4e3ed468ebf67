"""What is too large for a document: refused at the door, and no obstacle to what must go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from functions.domain.account.model import AccountStatus
from functions.domain.errors import PayloadTooLarge, Unstorable
from functions.domain.instance.model import CatalogEntry, Instance, InstanceStatus
from functions.domain.storable import MAX_DOCUMENT_BYTES, stored_bytes
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.account import status
from functions.lifecycle.account.status import AccountStatusChange
from functions.lifecycle.dependencies import Document, Query, Replace, Write
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.repository import INSTANCES, instance_ref
from functions.lifecycle.toolbox import change as toolbox_change
from functions.lifecycle.toolbox.change import ToolboxRequest
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.droplet import Fault
from tests.fakes.stored import decode, encode
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, World, new

COMMAND = ["x" * 8_000]


def suspend(world: World) -> None:
    status.receive(world.deps, AccountStatusChange("message", ACCOUNT, AccountStatus.SUSPENDED, world.now()))
    for _ in range(4):
        world.deliver()


def fill(world: World, instance: Instance, free: int, **parts: object) -> Instance:
    """Make the stored document so large that `free` bytes are left, as older versions of the functions let it grow."""
    [snapshot] = world.store.get([instance_ref(instance.id)])
    loaded = decode(Instance, snapshot)
    assert loaded
    headroom = MAX_DOCUMENT_BYTES - free - stored_bytes(encode(loaded.value))
    if parts.get("catalogue"):
        large = replace(
            loaded.value, catalogue=CatalogEntry(base_config_override_json='"' + "x" * (headroom - 2) + '"')
        )
    else:
        spec = replace(loaded.value.spec, command=[*loaded.value.spec.command, "x" * (headroom - 1)])
        large = replace(loaded.value, spec=spec)
    world.store.commit([Replace(instance_ref(instance.id), encode(large), loaded.version)])
    return large


@pytest.mark.parametrize(
    "large",
    [
        {"command": ["x" * 8_000] * 33},
        {"command": COMMAND * 17, "environment": {f"{'N' * 120}_{n}": "x" for n in range(1_040)}},
    ],
    ids=["command", "command and names"],
)
def test_spec_over_256_kib_is_refused_at_deploy_and_update(world: World, large: dict[str, object]) -> None:
    wanted = new("large")
    with pytest.raises(PayloadTooLarge, match="262144"):
        world.deploy(replace(wanted, spec=replace(wanted.spec, **large)))  # type: ignore[arg-type]
    assert world.documents() == []
    small = world.deploy()
    changes = Changes(lambda spec: replace(spec, **large))  # type: ignore[arg-type]
    with pytest.raises(PayloadTooLarge, match="262144"):
        update(world.deps, InstanceRequest(CALLER, TOOLBOX, small.id), changes)
    assert world.stored(small).desired.generation == 1


def test_encrypted_secrets_and_the_catalogue_count(world: World) -> None:
    wanted = replace(new("large"), secrets={f"S{n}": "s" * 30_000 for n in range(4)})
    copied = replace(wanted, catalogue=CatalogEntry(base_config_override_json='"' + "x" * 110_000 + '"'))
    assert world.deploy(wanted).status is InstanceStatus.RUNNING
    with pytest.raises(PayloadTooLarge, match="262144"):
        world.deploy(replace(copied, name="other"))


@pytest.mark.parametrize("catalogue", [True, False])
def test_instance_near_the_limit_can_be_deleted(world: World, catalogue: bool) -> None:
    instance = world.deploy()
    fill(world, instance, 10, catalogue=catalogue)
    world.delete(instance.id)
    tombstone = world.stored(instance)
    assert tombstone.deleted_at
    assert stored_bytes(encode(tombstone)) < 5_000
    assert world.droplet.running() == []


def test_tombstone_has_no_large_parts(world: World) -> None:
    wanted = new()
    spec = replace(wanted.spec, command=COMMAND, environment={"A": "b"})
    instance = world.deploy(replace(wanted, spec=spec, catalogue=CatalogEntry(base_config_override_json="{}")))
    world.delete(instance.id)
    tombstone = world.stored(instance)
    assert (tombstone.spec.command, tombstone.spec.environment) == ([], {})
    assert tombstone.catalogue.base_config_override_json is None


@pytest.mark.parametrize("catalogue", [True, False])
def test_suspension_reaches_an_instance_near_the_limit_and_its_neighbours(world: World, catalogue: bool) -> None:
    world.settled_toolbox()
    instances = [world.deploy(new(f"server-{n}")) for n in range(3)]
    fill(world, instances[1], 10, catalogue=catalogue)
    suspend(world)
    for _ in range(3):
        world.sweep()
    assert world.droplet.running() == []
    assert all(world.stored(instance).suspended for instance in instances)


@pytest.mark.parametrize("catalogue", [True, False])
def test_toolbox_with_an_instance_near_the_limit_is_deprovisioned(world: World, catalogue: bool) -> None:
    world.settled_toolbox()
    instances = [world.deploy(new(f"server-{n}")) for n in range(3)]
    fill(world, instances[1], 10, catalogue=catalogue)
    deprovision(world)
    assert toolbox(world).status is ToolboxStatus.DEPROVISIONED
    assert all(world.stored(instance).deleted_at for instance in instances)


def test_message_of_any_length_from_a_toolbox_is_recorded_shortened(world: World) -> None:
    instance = world.deploy()
    world.droplet.faults += [Fault(shim_errors.Transient("x" * 2_000_000), routes.STOP) for _ in range(3)]
    stopping = world.stop(instance.id)
    assert stopping.observed.obstacle
    assert len(stopping.observed.obstacle.message) == 4_000
    for _ in range(4):
        world.sweep()
    assert world.stored(instance).status is InstanceStatus.STOPPED


@pytest.fixture
def unstorable(world: World) -> list[str]:
    """Ids of instances whose documents the store refuses from now on."""
    ids: list[str] = []

    def refuse(writes: Sequence[Write]) -> None:
        if any(write.ref.collection == INSTANCES and write.ref.id in ids for write in writes):
            raise Unstorable("the store cannot hold it")

    world.store.before_commit = refuse
    return ids


def test_instance_that_cannot_be_saved_does_not_stop_the_suspension_of_others(
    world: World, unstorable: list[str]
) -> None:
    world.settled_toolbox()
    instances = [world.deploy(new(f"server-{n}")) for n in range(3)]
    unstorable.append(instances[1].id)
    suspend(world)
    for _ in range(3):
        world.sweep()
    assert [world.stored(instance).suspended for instance in instances] == [True, False, True]


def test_instance_that_cannot_be_saved_does_not_stop_a_deprovisioning(world: World, unstorable: list[str]) -> None:
    world.settled_toolbox()
    instances = [world.deploy(new(f"server-{n}")) for n in range(3)]
    unstorable.append(instances[1].id)
    deprovision(world)
    assert toolbox(world).status is ToolboxStatus.DEPROVISIONED
    assert [bool(world.stored(instance).deleted_at) for instance in instances] == [True, False, True]


def test_instance_that_cannot_be_read_does_not_stop_a_deprovisioning(world: World) -> None:
    world.settled_toolbox()
    instances = [world.deploy(new(f"server-{n}")) for n in range(3)]
    [snapshot] = world.store.get([instance_ref(instances[1].id)])
    assert snapshot
    world.store.commit([Replace(snapshot.ref, {"schema": 99}, snapshot.version)])
    deprovision(world)
    assert toolbox(world).status is ToolboxStatus.DEPROVISIONED
    assert world.stored(instances[0]).deleted_at and world.stored(instances[2]).deleted_at


def test_toolbox_that_cannot_be_saved_does_not_stop_an_account_suspension(world: World) -> None:
    others = ["22222222-2222-4222-8222-222222222222", "33333333-3333-4333-8333-333333333333"]
    for other in others:
        world.add_toolbox(other)

    def refuse(writes: Sequence[Write]) -> None:
        if any(write.ref.id == others[0] for write in writes):
            raise Unstorable("the store cannot hold it")

    world.store.before_commit = refuse
    status.receive(world.deps, AccountStatusChange("message", ACCOUNT, AccountStatus.SUSPENDED, world.now()))
    world.deliver()
    suspended = {data["id"]: data["suspended"] for data in toolboxes(world)}
    assert suspended == {TOOLBOX: True, others[0]: False, others[1]: True}
    [account] = world.documents("accounts")
    assert account["due_at"] is not None


def deprovision(world: World) -> None:
    toolbox_change.deprovision(world.deps, ToolboxRequest(CALLER, TOOLBOX))
    for _ in range(12):
        world.sweep()


def toolbox(world: World) -> Toolbox:
    return world.change_toolbox(lambda box: box)


def toolboxes(world: World) -> list[Document]:
    return [snapshot.data for snapshot in world.store.query(Query("account_tool_environments"))]
