"""Every query that the lifecycle makes has its index in infra/firestore.indexes.json."""

from dataclasses import replace

from functions.domain.instance.container import Port
from functions.lifecycle.dependencies import Dependencies, Query, Snapshot
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile.tasks import run_task
from functions.lifecycle.toolbox import read as toolboxes
from tests.adapters.indexes import IndexedStore
from tests.fakes.world import CALLER, TOOLBOX, World, new
from tests.lifecycle.updates import OTHER_IMAGE


class RecordingStore(IndexedStore):
    """Records the queried collections and orders, so that the test can check that it covers every query."""

    def query(self, query: Query) -> list[Snapshot]:
        queried.add((query.collection.rpartition("/")[2], query.order_by))
        return super().query(query)


queried: set[tuple[str, str | None]] = set()


def sweep_and_reconcile(world: World, deps: Dependencies) -> None:
    world.pass_time(60)
    sweep.sweep(deps)
    tasks, world.queue.tasks = world.queue.tasks, []
    for task in tasks:
        run_task(deps, task)


def test_every_query_of_operations_lists_and_sweeps_has_an_index(world: World) -> None:
    deps = replace(world.deps, store=RecordingStore(world.store))
    world.droplet.images.add(OTHER_IMAGE)
    deploy(deps, CALLER, TOOLBOX, new(ports=(0,)))
    request = InstanceRequest(CALLER, TOOLBOX, "server")
    for operation in (change.stop, change.start, change.restart):
        operation(deps, request)
    update(deps, request, Changes(lambda old: replace(old, image=OTHER_IMAGE), [Port(3000, 0)]))
    sweep_and_reconcile(world, deps)
    world.droplet.containers.clear()
    sweep_and_reconcile(world, deps)
    toolboxes.page(deps, CALLER, 10, None)
    [instance] = instances.page(deps, CALLER, TOOLBOX, 10, None).records
    toolboxes.page(deps, CALLER, 10, (world.time, TOOLBOX))
    instances.page(deps, CALLER, TOOLBOX, 10, (instance.created_at, instance.id))
    for history in (instances.events, instances.post_mortems):
        history(deps, CALLER, TOOLBOX, "server", 10, None)
        history(deps, CALLER, TOOLBOX, "server", 10, (world.time, "x"))
    change.delete(deps, request)
    sweep_and_reconcile(world, deps)
    assert queried == {
        ("accounts", "due_at"),
        ("rollouts", "due_at"),
        ("rotations", "due_at"),
        ("account_tool_environments", None),
        ("account_tool_environments", "created_at"),
        ("account_tool_environments", "due_at"),
        ("account_tool_instances", "created_at"),
        ("account_tool_instances", "memory_bytes"),
        ("account_tool_instances", "due_at"),
        ("account_tool_instances", "updated_at"),
        ("events", "time"),
        ("post_mortems", "time"),
    }
