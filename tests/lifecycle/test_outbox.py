"""Events are told outside: each at least once, under one id, whatever dies, fails or is slow in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from functions.domain.errors import NotDelivered, Unavailable
from functions.domain.toolbox.model import ToolboxStatus
from functions.lifecycle import outbox
from functions.lifecycle.dependencies import Delete, Query, Write
from functions.lifecycle.outbox import OutboxStore
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.repository import instance_ref
from functions.web.announcements import announcement
from tests.adapters.indexes import IndexedStore
from tests.fakes.world import TOOLBOX, World, new


@dataclass
class FakeSender:
    """Keeps what was taken; while it is `down` it takes nothing. Each try takes `seconds`."""

    world: World
    down: bool = False
    seconds: float = 0
    tried: int = 0
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def send(self, message_id: str, body: bytes) -> None:
        self.tried += 1
        self.world.pass_time(self.seconds)
        if self.down:
            raise NotDelivered("the target answered 503")
        self.taken.append((message_id, json.loads(body)))

    def told(self) -> list[tuple[Any, ...]]:
        """Type, from and to of each."""
        return [(said["type"], said["data"]["event"]["from"], said["data"]["event"]["to"]) for _, said in self.taken]


@pytest.fixture
def world() -> World:
    made = World()
    made.deps = replace(made.deps, store=OutboxStore(IndexedStore(made.store)), announces=True)
    made.add_toolbox()
    return made


@pytest.fixture
def sender(world: World) -> FakeSender:
    return FakeSender(world)


def deliver(world: World, sender: FakeSender) -> None:
    outbox.deliver(world.deps, sender, announcement)


def queued(world: World) -> int:
    found = world.store.query(Query("events", order_by="time", group=True))
    return sum(event.data.get("deliver_at") is not None for event in found)


def test_each_change_of_status_and_each_crash_is_told_with_the_record(world: World, sender: FakeSender) -> None:
    instance = world.deploy()
    world.droplet.die(instance.container_name, exit_code=3)
    world.sweep()
    world.stop("server")
    world.delete("server")
    deliver(world, sender)
    assert sender.told() == [
        ("instance.status_changed", None, "pending_deploy"),
        ("instance.status_changed", "pending_deploy", "running"),
        # It is seen dead, which is saved with its post-mortem, and then running again, all in one moment.
        ("instance.crashed", "running", "starting"),
        ("instance.status_changed", "starting", "running"),
        ("instance.status_changed", "running", "starting"),
        ("instance.status_changed", "running", "stopping"),
        ("instance.status_changed", "stopping", "stopped"),
        ("instance.status_changed", "stopped", "deleting"),
    ]
    _, crashed = sender.taken[2]
    record = crashed["data"]["instance"]
    assert (record["id"], record["generation"]) == (instance.id, 3)
    assert "exit code 3" in crashed["data"]["event"]["detail"]
    assert crashed["timestamp"] == crashed["data"]["event"]["time"]


def test_a_toolboxs_change_of_status_is_told(world: World, sender: FakeSender) -> None:
    world.droplet.reachable = False
    world.sweep()
    deliver(world, sender)
    assert sender.told() == [("toolbox.status_changed", "active", "unresponsive")]
    record = sender.taken[0][1]["data"]["toolbox"]
    assert (record["id"], record["status"]) == (TOOLBOX, ToolboxStatus.UNRESPONSIVE)


def test_what_changes_no_status_is_told_nobody(world: World) -> None:
    world.sweep()
    before = queued(world)
    world.droplet.engine_id = "another"
    world.sweep(seconds=3600)
    kinds = {event.data["type"] for event in world.store.query(Query("events", order_by="time", group=True))}
    assert "engine_changed" in kinds
    assert queued(world) == before


def test_without_a_target_nothing_is_queued_and_nothing_asked_for() -> None:
    world = World()
    world.add_toolbox()
    world.deploy()
    assert queued(world) == 0
    world.pass_time(60)
    sweep.sweep(world.deps)
    assert {task.kind for task in world.queue.tasks} == {"toolbox"}


def test_a_sweep_sends_one_worker_while_anything_is_due(world: World, sender: FakeSender) -> None:
    world.deploy()
    sweep.sweep(world.deps)
    assert [task.id for task in world.queue.tasks if task.kind == "outbox"] == ["due"]
    deliver(world, sender)
    world.queue.tasks.clear()
    sweep.sweep(world.deps)
    assert [task for task in world.queue.tasks if task.kind == "outbox"] == []
    assert queued(world) == 0


def test_a_receiver_that_is_down_costs_three_tries_a_minute_and_is_told_all_when_it_is_back(
    world: World, sender: FakeSender
) -> None:
    for number in range(10):
        world.deploy(new(f"server-{number}"))
    waiting, sender.down = queued(world), True
    deliver(world, sender)
    assert (sender.tried, queued(world)) == (outbox.FAILURES, waiting)
    for _ in range(12):
        world.pass_time(3600)
        deliver(world, sender)
    sender.down = False
    world.pass_time(6 * 3600)
    deliver(world, sender)
    assert queued(world) == 0
    assert len({id for id, _ in sender.taken}) == len(sender.taken) == waiting


def test_tries_come_farther_and_farther_apart_and_end_after_three_days(world: World, sender: FakeSender) -> None:
    world.droplet.reachable = False
    sweep.sweep(world.deps)
    world.deliver()
    began, sender.down = world.time, True
    tries: list[timedelta] = []
    while queued(world):
        before = sender.tried
        deliver(world, sender)
        tries += [world.time - began] * (sender.tried > before)
        world.pass_time(60)
    assert tries[0] == timedelta(0)
    assert tries[-1] <= timedelta(days=3) < world.time - began < timedelta(days=3, hours=7)
    assert 15 < len(tries) < 50
    sender.down = False
    deliver(world, sender)
    assert sender.taken == []


def test_a_worker_that_dies_before_it_could_record_is_followed_by_one_that_sends_again_under_the_same_id(
    world: World, sender: FakeSender
) -> None:
    world.droplet.reachable = False
    world.sweep()

    def dies(writes: Sequence[Write]) -> None:
        if sender.taken:
            world.store.before_commit = lambda writes: None
            raise Unavailable("killed")

    world.store.before_commit = dies
    with pytest.raises(Unavailable):
        deliver(world, sender)
    deliver(world, sender)
    assert len(sender.taken) == 1, "not before its time"
    world.pass_time(60)
    deliver(world, sender)
    assert len(sender.taken) == 2
    assert len({id for id, _ in sender.taken}) == 1
    assert queued(world) == 0


def test_two_workers_do_not_send_one_event(world: World, sender: FakeSender) -> None:
    for number in range(5):
        world.deploy(new(f"server-{number}"))
    waiting, second = queued(world), FakeSender(world)

    class Overtaken(FakeSender):
        def send(self, message_id: str, body: bytes) -> None:
            super().send(message_id, body)
            if self.tried == 2:
                deliver(world, second)

    first = Overtaken(world)
    deliver(world, first)
    assert len({id for id, _ in first.taken} | {id for id, _ in second.taken}) == waiting
    assert len(first.taken) + len(second.taken) == waiting


def test_a_slow_receiver_holds_its_worker_for_less_than_a_minute(world: World, sender: FakeSender) -> None:
    for number in range(20):
        world.deploy(new(f"server-{number}"))
    sender.seconds, began = 10, world.time
    deliver(world, sender)
    assert world.time - began < timedelta(minutes=1)
    assert 0 < queued(world) < 40


def test_what_an_event_was_about_may_be_gone(world: World, sender: FakeSender) -> None:
    """A tombstone lives for thirty days, a receiver may be down for three: but the clock may have been wrong."""
    instance = world.deploy()
    world.store.commit([Delete(instance_ref(instance.id))])
    deliver(world, sender)
    assert (sender.taken, queued(world)) == ([], 0)
