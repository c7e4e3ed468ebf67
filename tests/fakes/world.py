"""The lifecycle's dependencies on one thread: the embedded store, a fake droplet, and a clock that tests move."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from functions.adapters.store_sqlite import SqliteStore
from functions.adapters.toolbox_shim import ToolboxShims
from functions.adapters.vault import KeyVault
from functions.domain.account.model import Caller
from functions.domain.errors import Unavailable
from functions.domain.instance.container import Port
from functions.domain.instance.model import CatalogEntry, Instance
from functions.domain.instance.spec import Spec
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Create, Dependencies, Query, Replace, Task
from functions.lifecycle.instance import change as instance_change
from functions.lifecycle.instance.deploy import NewInstance, deploy
from functions.lifecycle.reconcile import sweep as reconcile_sweep
from functions.lifecycle.reconcile.tasks import run_task
from functions.lifecycle.repository import INSTANCES, instance_ref, toolbox_ref
from tests.fakes.digitalocean import FakeDigitalOcean
from tests.fakes.droplet import IMAGE, FakeDroplet
from tests.fakes.store import FaultyStore
from tests.fakes.stored import DOCUMENTS as DOCUMENTS
from tests.fakes.stored import decode, encode

TOOLBOX = "11111111-1111-4111-8111-111111111111"
ACCOUNT = "account-a"
VAULT = KeyVault({"key-1": bytes(range(32))})
CALLER = Caller(ACCOUNT, ACCOUNT)
OTHER_CALLER = Caller("account-b", "account-b")
ADMIN = Caller("operator", "operator", admin=True)


@dataclass
class ListQueue:
    """Holds published tasks until the test delivers them."""

    tasks: list[Task] = field(default_factory=list)
    down: bool = False

    def publish(self, tasks: Sequence[Task]) -> None:
        if self.down:
            raise Unavailable("the queue did not answer")
        self.tasks.extend(tasks)


class World:
    def __init__(self, store: str = ":memory:") -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.droplet = FakeDroplet(now=self.now)
        self.digitalocean = FakeDigitalOcean(now=self.now)
        self.queue = ListQueue()
        self.store = FaultyStore(SqliteStore(store))
        self.draws: Iterator[float] = iter(random.Random(1).random, None)
        ids = itertools.count(1)
        self.deps = Dependencies(
            store=self.store,
            queue=self.queue,
            shims=ToolboxShims(self.droplet),
            droplets=self.digitalocean,
            now=self.now,
            new_id=lambda: str(uuid.UUID(int=next(ids), version=4)),
            pause=self.pass_time,
            draw=lambda: next(self.draws),
            vault=VAULT,
            documents=DOCUMENTS,
        )

    def now(self) -> datetime:
        return self.time

    def pass_time(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def deliver(self) -> None:
        """Run every published task, as the worker does when Pub/Sub pushes it."""
        tasks, self.queue.tasks = self.queue.tasks, []
        for task in tasks:
            run_task(self.deps, task)

    def sweep(self, seconds: float = 60) -> None:
        """Let time pass, sweep, and run what the sweep published."""
        self.pass_time(seconds)
        reconcile_sweep.sweep(self.deps)
        self.deliver()

    def add_toolbox(self, toolbox_id: str = TOOLBOX, account: str = ACCOUNT) -> Toolbox:
        toolbox = active_toolbox(toolbox_id, account, self.time)
        self.store.commit([Create(toolbox_ref(toolbox.id), encode(toolbox))])
        return toolbox

    def settled_toolbox(self) -> Toolbox:
        """Mark the toolbox as serving and settled."""
        return self.change_toolbox(lambda box: replace(box, observed_generation=box.generation, served_at=self.time))

    def change_toolbox(self, change: Callable[[Toolbox], Toolbox]) -> Toolbox:
        """Change the stored toolbox, as another worker's commit would."""
        [snapshot] = self.store.get([toolbox_ref(TOOLBOX)])
        loaded = decode(Toolbox, snapshot)
        assert loaded
        changed = change(loaded.value)
        self.store.commit([Replace(toolbox_ref(TOOLBOX), encode(changed), loaded.version)])
        return changed

    def deploy(self, wanted: NewInstance | None = None) -> Instance:
        """Deploy an instance, without running any task."""
        return deploy(self.deps, CALLER, TOOLBOX, wanted or new())

    def start(self, key: str) -> Instance:
        return self._changed(instance_change.start, key)

    def stop(self, key: str) -> Instance:
        return self._changed(instance_change.stop, key)

    def restart(self, key: str) -> Instance:
        return self._changed(instance_change.restart, key)

    def delete(self, key: str) -> Instance:
        return self._changed(instance_change.delete, key)

    def _changed(self, verb: Callable[[Dependencies, instance_change.InstanceRequest], Instance], key: str) -> Instance:
        return verb(self.deps, instance_change.InstanceRequest(CALLER, TOOLBOX, key))

    def stored(self, instance: Instance) -> Instance:
        """Return the stored instance, deleted or not."""
        return self.stored_at(instance.id)

    def stored_at(self, instance_id: str) -> Instance:
        loaded = decode(Instance, self.store.get([instance_ref(instance_id)])[0])
        assert loaded
        return loaded.value

    def documents(self, collection: str = INSTANCES) -> list[dict[str, object]]:
        return [snapshot.data for snapshot in self.store.query(Query(collection))]

    def events(self, instance: Instance) -> list[tuple[object, object, object]]:
        found = self.store.query(Query(f"{INSTANCES}/{instance.id}/events", order_by="time"))
        return [(event.data["type"], event.data["before"], event.data["after"]) for event in found]


def active_toolbox(toolbox_id: str, account: str, created_at: datetime) -> Toolbox:
    """Return a toolbox that serves."""
    return Toolbox(
        id=toolbox_id,
        account=account,
        name="box",
        status=ToolboxStatus.ACTIVE,
        region="fra1",
        size="s-1vcpu-1gb",
        image="debian-12-x64",
        created_at=created_at,
        updated_at=created_at,
        address="192.0.2.1",
        fingerprint="0" * 64,
    )


def new(name: str = "server", *, image: str = IMAGE, ports: tuple[int, ...] = (), start: bool = True) -> NewInstance:
    """Return a deploy request of `image` with container ports from 3000 mapped to `ports` (0: allocate one)."""
    mapped = [Port(3000 + index, port) for index, port in enumerate(ports)]
    return NewInstance(name, Spec(image, ports=mapped), CatalogEntry(), start)
