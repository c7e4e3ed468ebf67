"""A batch of toolboxes: read together, looked at together, and none of them held up or failed by another one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from functions.adapters.threads import concurrently
from functions.adapters.toolbox_shim import ToolboxShims
from functions.domain.lease import Lease
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Put, Query, Task
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.reconcile import sweep, toolboxes
from functions.lifecycle.reconcile.tasks import run_task
from functions.lifecycle.repository import INSTANCES, toolbox_ref
from functions.lifecycle.toolbox import inspect
from functions.lifecycle.toolbox.inspect import HEARTBEAT_EVERY
from tests.fakes.droplet import FakeDroplet
from tests.fakes.store import CountingStore
from tests.fakes.stored import decode, encode
from tests.fakes.world import CALLER, World, new


@dataclass
class Droplets:
    """A fake droplet for each toolbox; `before` runs ahead of each command to the toolbox of that id."""

    now: Callable[[], datetime]
    made: dict[str, FakeDroplet] = field(default_factory=dict)

    def for_toolbox(self, toolbox: Toolbox) -> FakeDroplet:
        return self.made.setdefault(toolbox.id, FakeDroplet(self.now, engine_id=f"engine of {toolbox.id}"))


class Batch(World):
    """Toolboxes with a droplet each, and one instance on each."""

    def __init__(self, count: int = 4) -> None:
        super().__init__()
        self.droplets = Droplets(self.now)
        self.counting = CountingStore(self.store)
        self.deps = replace(self.deps, store=self.counting, shims=ToolboxShims(self.droplets))
        self.ids = [f"{number:08d}-1111-4111-8111-111111111111" for number in range(count)]
        for toolbox_id in self.ids:
            self.add_toolbox(toolbox_id)
            deploy(self.deps, CALLER, toolbox_id, new())

    def toolbox(self, index: int) -> Toolbox:
        loaded = decode(Toolbox, self.store.get([toolbox_ref(self.ids[index])])[0])
        assert loaded
        return loaded.value

    def change(self, index: int, **changes: object) -> None:
        changed = replace(self.toolbox(index), **changes)  # type: ignore[arg-type]
        self.store.commit([Put(toolbox_ref(changed.id), encode(changed))])

    def run(self) -> None:
        run_task(self.deps, Task("toolboxes", ids=tuple(self.ids)))

    def settle(self) -> None:
        """Let time pass until nothing but heartbeats is left to write."""
        for _ in range(3):
            self.pass_time(60)
            self.run()

    def looks(self) -> list[int]:
        """How many lists each shim was asked for."""
        return [self.droplets.made[toolbox_id].calls.count("GET /status") for toolbox_id in self.ids]


@pytest.fixture
def batch() -> Batch:
    made = Batch()
    made.settle()
    return made


def test_quiet_batch_is_read_in_one_call_and_one_query(batch: Batch) -> None:
    batch.pass_time(60)
    looks, reads, written = batch.looks(), batch.counting.reads, len(batch.counting.written)
    batch.run()
    assert batch.looks() == [count + 1 for count in looks]
    # Each toolbox, and the query that finds no instance that has changed.
    assert batch.counting.reads - reads == len(batch.ids) + 1
    assert len(batch.counting.written) == written


def test_sweep_publishes_toolboxes_in_batches() -> None:
    batch = Batch(sweep.BATCH + 2)
    batch.queue.tasks.clear()
    batch.pass_time(60)
    sweep.sweep(batch.deps)
    tasks = [task for task in batch.queue.tasks if task.kind == "toolboxes"]
    assert [len(task.ids) for task in tasks] == [sweep.BATCH, 2]
    assert [toolbox_id for task in tasks for toolbox_id in task.ids] == batch.ids


def test_sweep_that_runs_out_of_time_says_how_far_it_came(
    batch: Batch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweep, "PAGE", 2)
    batch.queue.tasks.clear()
    query = batch.counting.query

    def slow(searched: Query) -> list[object]:
        batch.pass_time(sweep.WITHIN.total_seconds() if searched.where[0][0] == "status" else 0)
        return query(searched)  # type: ignore[return-value]

    monkeypatch.setattr(batch.counting, "query", slow)
    sweep.sweep(batch.deps)
    assert "the sweep was at 2 documents of account_tool_environments" in caplog.text
    assert [task.ids for task in batch.queue.tasks if task.kind == "toolboxes"] == [tuple(batch.ids[:2])]


def test_toolbox_that_does_not_answer_fails_none_of_the_others(batch: Batch) -> None:
    batch.droplets.made[batch.ids[1]].reachable = False
    looks = batch.looks()
    batch.pass_time(60)
    batch.run()
    assert [batch.toolbox(index).status for index in range(4)] == ["active", "unresponsive", "active", "active"]
    assert batch.looks() == [count + (index != 1) for index, count in enumerate(looks)]


def test_document_that_cannot_be_read_fails_none_of_the_others(batch: Batch, caplog: pytest.LogCaptureFixture) -> None:
    [snapshot] = batch.store.get([toolbox_ref(batch.ids[0])])
    assert snapshot
    batch.store.commit([Put(snapshot.ref, snapshot.data | {"schema": 99})])
    looks = batch.looks()
    batch.pass_time(60)
    batch.run()
    assert batch.looks() == [looks[0], *(count + 1 for count in looks[1:])]
    assert "a toolbox of the batch cannot be read" in caplog.text


def test_slow_toolbox_delays_none_of_the_others(batch: Batch) -> None:
    others, slow_may_go_on = threading.Barrier(len(batch.ids)), threading.Event()

    def meet(*_: object) -> None:
        others.wait(timeout=30)

    def wait(*_: object) -> None:
        assert slow_may_go_on.wait(timeout=30)

    for toolbox_id in batch.ids:
        batch.droplets.made[toolbox_id].before_command = meet
    batch.droplets.made[batch.ids[0]].before_command = wait
    deps = replace(batch.deps, concurrently=concurrently, looks=batch.deps.looks)
    thread = threading.Thread(target=toolboxes.run, args=(deps, batch.ids))
    batch.pass_time(60)
    thread.start()
    # The others' lists are asked for while the first one is waited for.
    others.wait(timeout=30)
    slow_may_go_on.set()
    thread.join()
    assert [batch.toolbox(index).status for index in range(4)] == ["active"] * 4


def test_toolbox_whose_look_is_under_way_is_not_looked_at_twice(batch: Batch) -> None:
    looks = batch.looks()
    batch.pass_time(60)
    with batch.deps.looks.enter(batch.ids[2]):
        batch.run()
    batch.run()
    assert batch.looks() == [count + (1 if index == 2 else 2) for index, count in enumerate(looks)]


def test_toolbox_that_a_worker_holds_is_left_to_it(batch: Batch) -> None:
    batch.change(3, lease=Lease("another", batch.now() + timedelta(minutes=5)))
    looks = batch.looks()
    batch.pass_time(60)
    batch.run()
    assert batch.looks() == [*(count + 1 for count in looks[:3]), looks[3]]


def test_looks_that_begin_too_late_are_left_to_the_next_sweep(batch: Batch, caplog: pytest.LogCaptureFixture) -> None:
    looks = batch.looks()
    batch.pass_time(60)
    batch.droplets.made[batch.ids[0]].before_command = lambda *_: batch.pass_time(
        toolboxes.BEGIN_WITHIN.total_seconds()
    )
    with caplog.at_level(logging.WARNING):
        batch.run()
    assert batch.looks() == [looks[0] + 1, *looks[1:]]
    assert "3 of 4 toolboxes were not looked at within 50 s" in caplog.text


def test_written_instance_makes_its_toolbox_compared_in_full(batch: Batch) -> None:
    """Its container was started and then stopped by hand: the list is the same as before."""
    droplet = batch.droplets.made[batch.ids[1]]
    [container] = droplet.containers.values()
    deploy(batch.deps, CALLER, batch.ids[1], new("second"))
    del droplet.containers[next(name for name in droplet.containers if name != container.name)]
    batch.pass_time(60)
    batch.run()
    assert len(droplet.running()) == 2


def test_more_written_instances_than_the_limit_have_all_compared(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "MAX_CHANGED", 1)
    deploy(batch.deps, CALLER, batch.ids[0], new("second"))
    batch.pass_time(60)
    found = inspect.changed_instances(batch.deps, [batch.toolbox(index) for index in range(4)], batch.now())
    assert found.toolbox_ids == frozenset(batch.ids)


def test_heartbeat_moves_the_time_of_the_list_along(batch: Batch) -> None:
    before = batch.toolbox(0).listed_at
    assert before
    for _ in range(5):
        batch.pass_time(60)
        batch.run()
    after = batch.toolbox(0).listed_at
    assert after
    assert before < after
    assert batch.now() - after < HEARTBEAT_EVERY


def test_toolbox_with_an_old_list_has_no_other_instances_read(batch: Batch) -> None:
    batch.change(0, listed_at=batch.now() - timedelta(days=3), status=ToolboxStatus.UNRESPONSIVE)
    queries: list[Query] = []
    query = batch.counting.query

    def record(searched: Query) -> list[object]:
        queries.append(searched)
        return query(searched)  # type: ignore[return-value]

    batch.counting.query = record  # type: ignore[assignment]
    inspect.changed_instances(batch.deps, [batch.toolbox(index) for index in range(4)], batch.now())
    alone, together = ({name: value for name, _, value in searched.where} for searched in queries)
    assert {searched.collection for searched in queries} == {INSTANCES}
    assert alone["toolbox_id"] == batch.ids[0]
    assert together["toolbox_id"] == batch.ids[1:]
