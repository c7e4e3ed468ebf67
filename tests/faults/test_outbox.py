"""A worker that dies between the delivery of a webhook and its record: the next one delivers it again, with its id."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from functions.adapters.digitalocean import NoDroplets
from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.shim import NoShims
from functions.adapters.store_sqlite import SqliteStore
from functions.lifecycle import outbox
from functions.lifecycle.dependencies import Create
from functions.lifecycle.outbox import OutboxStore
from functions.lifecycle.repository import toolbox_ref
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from functions.web.webhooks import outbound_message
from tests.fakes.receiver import CERTIFICATE, Receiver, sender_to
from tests.fakes.world import TOOLBOX, World
from tests.faults.crashing_worker import CrashingStore, CrashPoint, Effects, seeded_dependencies
from tests.faults.environment import PROCESSES, WORKER_TIMEOUT_SECONDS

# The effects of a worker: it queries, takes a lease, reads the toolbox, delivers, and records the delivery.
LEASE, RECORD = 2, 4


def worker(folder: Path, port: int, ahead: timedelta, cut: CrashPoint | None) -> None:
    """Deliver what is due, in a process whose clock is `ahead`."""

    def now() -> datetime:
        return datetime.now(UTC) + ahead

    effects = Effects(cut)
    store = CrashingStore(SqliteStore(str(folder / "store.db")), effects)
    queue = SqliteQueue(str(folder / "queue.db"))
    sender = sender_to(folder / CERTIFICATE, port)
    deps = seeded_dependencies(1, store, queue, NoShims(), NoDroplets(), now, time.sleep)
    outbox.deliver(deps, sender, outbound_message)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    yield made
    made.close()


def run(folder: Path, receiver: Receiver, ahead: timedelta = timedelta(0), cut: CrashPoint | None = None) -> int | None:
    process = PROCESSES.Process(target=worker, args=(folder, receiver.port, ahead, cut))
    process.start()
    process.join(WORKER_TIMEOUT_SECONDS)
    return process.exitcode


@pytest.mark.parametrize(
    ("effect", "variant", "sent"), [(LEASE, "acknowledged", 0), (RECORD, "before", 1), (RECORD, "acknowledged", 1)]
)
def test_a_webhook_is_delivered_again_unless_its_delivery_is_recorded(
    tmp_path: Path, receiver: Receiver, effect: int, variant: str, sent: int
) -> None:
    world = World()
    world.add_toolbox()
    world.droplet.reachable = False
    world.time = datetime.now(UTC)
    toolbox, store = world.store.get([toolbox_ref(TOOLBOX)])[0], OutboxStore(SqliteStore(str(tmp_path / "store.db")))
    assert toolbox
    store.commit([Create(toolbox.ref, toolbox.data)])
    toolbox_inspect.inspect(replace(world.deps, store=store), TOOLBOX)

    assert run(tmp_path, receiver, cut=CrashPoint(effect, variant)) == -signal.SIGKILL
    assert len(receiver.ids) == sent
    assert run(tmp_path, receiver) == 0
    assert len(receiver.ids) == sent, "its time to be tried again has not come"
    recorded = (effect, variant) == (RECORD, "acknowledged")
    for _ in range(2):
        assert run(tmp_path, receiver, ahead=timedelta(minutes=2)) == 0
        assert len(receiver.ids) == sent + (not recorded)
    assert len(set(receiver.ids)) == 1
