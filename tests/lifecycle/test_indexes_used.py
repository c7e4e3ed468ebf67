"""Every query that the lifecycle makes has its index in infra/firestore.indexes.json."""

from dataclasses import replace

from functions.lifecycle import change, converge, instances, sweep, toolbox_converge, toolboxes
from functions.lifecycle.change import Asked
from functions.lifecycle.deploy import deploy
from functions.lifecycle.ports import Ports, Query, Snapshot
from functions.lifecycle.update import Changes, update
from shim.contract import messages
from tests.adapters.indexes import IndexedStore
from tests.fakes.world import CALLER, TOOLBOX, World, new

OTHER = "registry.test/server:2"


class Recording(IndexedStore):
    """Also keeps which collections were queried, so that this test knows what it has seen."""

    def query(self, query: Query) -> list[Snapshot]:
        queried.add((query.collection.rpartition("/")[2], query.order_by))
        return super().query(query)


queried: set[tuple[str, str | None]] = set()


def swept(world: World, ports: Ports) -> None:
    world.pass_time(60)
    sweep.sweep(ports)
    tasks, world.queue.tasks = world.queue.tasks, []
    for task in tasks:
        if task.kind == "toolbox":
            toolbox_converge.run(ports, task.id)
        else:
            converge.run(ports, task)


def test_every_operation_and_list_and_sweep(world: World) -> None:
    ports = replace(world.ports, store=Recording(world.store))
    world.droplet.images.add(OTHER)
    deploy(ports, CALLER, TOOLBOX, new(ports=(0,)))
    asked = Asked(CALLER, TOOLBOX, "server")
    for verb in (change.stop, change.start, change.restart):
        verb(ports, asked)
    update(ports, asked, Changes(lambda old: replace(old, image=OTHER), [messages.Port(3000, 0)]))
    swept(world, ports)
    world.droplet.containers.clear()
    swept(world, ports)
    toolboxes.page(ports, CALLER, 10, None)
    [instance] = instances.page(ports, CALLER, TOOLBOX, 10, None)
    toolboxes.page(ports, CALLER, 10, (world.time, TOOLBOX))
    instances.page(ports, CALLER, TOOLBOX, 10, (instance.created_at, instance.id))
    for kind in ("events", "post_mortems"):
        instances.history(ports, CALLER, TOOLBOX, "server", kind, 10, None)
        instances.history(ports, CALLER, TOOLBOX, "server", kind, 10, (world.time, "x"))
    change.delete(ports, asked)
    swept(world, ports)
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
