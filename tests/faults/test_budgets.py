"""The reads and writes that an operation costs at the store, without a failure and without a pull.

A read is one document that is named in a `get` or found by a query; a write is one document written or deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from functions.domain.instance.model import Instance
from functions.lifecycle.dependencies import Dependencies, Task
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import InstanceRequest
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile.tasks import run_task
from functions.lifecycle.repository import INSTANCES, TOOLBOXES
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from functions.lifecycle.toolbox.read import refresh
from tests.fakes.store import CountingStore
from tests.fakes.world import CALLER, TOOLBOX, World, new
from tests.faults.operations import KEY, once

Verb = Callable[[Dependencies, InstanceRequest], Instance]
VERBS: dict[str, Verb] = {"start": change.start, "stop": change.stop, "restart": change.restart}


@pytest.fixture
def world() -> World:
    """A toolbox with known memory and disk, so that a deploy checks its capacity."""
    made = World()
    made.add_toolbox()
    refresh(made.deps, CALLER, TOOLBOX)
    return made


def counted(world: World) -> tuple[CountingStore, Dependencies]:
    store = CountingStore(world.store)
    return store, replace(world.deps, store=store)


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("verb", VERBS)
def test_start_stop_and_restart_cost_3_reads_and_4_writes(world: World, verb: str, by_name: bool, keyed: bool) -> None:
    instance = world.deploy()
    if verb == "start":
        world.stop(instance.id)
    store, deps = counted(world)
    calls = len(world.droplet.calls)
    key = instance.name if by_name else instance.id
    once(
        deps,
        KEY if keyed else None,
        lambda commit: VERBS[verb](deps, InstanceRequest(CALLER, TOOLBOX, key, commit)),
    )
    assert len(world.droplet.calls) == calls + 1
    assert store.reads <= 3 + keyed
    assert len(store.written) == 4 + 2 * keyed


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("port_count", [0, 1, 2, 5])
def test_a_deploy_costs_3_reads_and_5_writes_and_one_write_per_port(world: World, port_count: int, keyed: bool) -> None:
    store, deps = counted(world)
    wanted = new(ports=tuple(20_001 + number for number in range(port_count)))
    once(deps, KEY if keyed else None, lambda commit: deploy(deps, CALLER, TOOLBOX, wanted, commit))
    assert world.droplet.running()
    assert store.reads <= 3
    assert len(store.written) == 5 + port_count + 2 * keyed


def test_an_idle_sweep_writes_only_a_heartbeat_every_four_minutes(
    world: World,
) -> None:
    instances = 10
    for number in range(instances):
        world.deploy(new(f"server-{number}"))
    world.sweep()
    world.sweep()
    store, deps = counted(world)
    minutes = 60
    for _ in range(minutes):
        world.pass_time(60)
        sweep.sweep(deps)
        tasks, world.queue.tasks = world.queue.tasks, []
        tasks = [task for task in tasks if task.kind != "orphan_droplets"]
        assert tasks == [Task("toolboxes", ids=(TOOLBOX,))]
        run_task(deps, tasks[0])
    assert {ref.collection for ref in store.written} == {TOOLBOXES}
    assert len(store.written) == minutes / 4
    # Each minute: the toolbox twice (in the sweep's page and in its batch), the query for changed instances, and six
    # queries that find nothing. Once an hour each instance is read to compare its limits with those of its container.
    assert store.reads == 9 * minutes + instances


def test_a_swept_repair_costs_its_instance_3_writes_and_the_others_none(world: World) -> None:
    instances = [world.deploy(new(f"server-{number}")) for number in range(10)]
    world.sweep()
    del world.droplet.containers[instances[3].container_name]
    store, deps = counted(world)
    toolbox_inspect.inspect(deps, TOOLBOX)
    assert len(world.droplet.running()) == 10
    written = [ref for ref in store.written if ref.collection.startswith(INSTANCES)]
    assert {ref.id for ref in written if ref.collection == INSTANCES} == {instances[3].id}
    assert len(written) == 3
