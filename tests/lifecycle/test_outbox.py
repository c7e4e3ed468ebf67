"""Outbound webhooks: each event is sent at least once under one id, despite crashes, failures and slow receivers."""

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
from functions.web.webhooks import outbound_message
from tests.adapters.indexes import IndexedStore
from tests.fakes.world import TOOLBOX, World, new


@dataclass
class FakeSender:
    """Records the delivered messages; refuses all of them while `down`. Each attempt takes `seconds`."""

    world: World
    down: bool = False
    seconds: float = 0
    attempts: int = 0
    delivered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def send(self, message_id: str, body: bytes) -> None:
        self.attempts += 1
        self.world.pass_time(self.seconds)
        if self.down:
            raise NotDelivered("the target answered 503")
        self.delivered.append((message_id, json.loads(body)))

    def status_changes(self) -> list[tuple[Any, ...]]:
        """Message type, old status and new status of each delivered message."""
        messages = [message for _, message in self.delivered]
        return [(each["type"], each["data"]["event"]["from"], each["data"]["event"]["to"]) for each in messages]


@pytest.fixture
def world() -> World:
    world = World()
    world.deps = replace(world.deps, store=OutboxStore(IndexedStore(world.store)), sends_webhooks=True)
    world.add_toolbox()
    return world


@pytest.fixture
def sender(world: World) -> FakeSender:
    return FakeSender(world)


def deliver(world: World, sender: FakeSender) -> None:
    outbox.deliver(world.deps, sender, outbound_message)


def queued(world: World) -> int:
    found = world.store.query(Query("events", order_by="time", group=True))
    return sum(event.data.get("deliver_at") is not None for event in found)


def test_each_status_change_and_crash_is_sent_with_the_record(world: World, sender: FakeSender) -> None:
    instance = world.deploy()
    world.droplet.die(instance.container_name, exit_code=3)
    world.sweep()
    world.stop("server")
    world.delete("server")
    deliver(world, sender)
    assert sender.status_changes() == [
        ("instance.status_changed", None, "pending_deploy"),
        ("instance.status_changed", "pending_deploy", "running"),
        # All at one time: the crash is observed and saved with its post-mortem, then the container runs again.
        ("instance.crashed", "running", "starting"),
        ("instance.status_changed", "starting", "running"),
        ("instance.status_changed", "running", "starting"),
        ("instance.status_changed", "running", "stopping"),
        ("instance.status_changed", "stopping", "stopped"),
        ("instance.status_changed", "stopped", "deleting"),
    ]
    _, crashed = sender.delivered[2]
    record = crashed["data"]["instance"]
    assert (record["id"], record["generation"]) == (instance.id, 3)
    assert "exit code 3" in crashed["data"]["event"]["detail"]
    assert crashed["timestamp"] == crashed["data"]["event"]["time"]


def test_status_change_of_a_toolbox_is_sent(world: World, sender: FakeSender) -> None:
    world.droplet.reachable = False
    world.sweep()
    deliver(world, sender)
    assert sender.status_changes() == [("toolbox.status_changed", "active", "unresponsive")]
    record = sender.delivered[0][1]["data"]["toolbox"]
    assert (record["id"], record["status"]) == (TOOLBOX, ToolboxStatus.UNRESPONSIVE)


def test_event_without_status_change_is_not_sent(world: World) -> None:
    world.sweep()
    before = queued(world)
    world.droplet.engine_id = "another"
    world.sweep(seconds=3600)
    kinds = {event.data["type"] for event in world.store.query(Query("events", order_by="time", group=True))}
    assert "engine_changed" in kinds
    assert queued(world) == before


def test_without_a_target_no_event_and_no_task_is_queued() -> None:
    world = World()
    world.add_toolbox()
    world.deploy()
    assert queued(world) == 0
    world.pass_time(60)
    sweep.sweep(world.deps)
    assert {task.kind for task in world.queue.tasks} == {"toolboxes"}


def test_sweep_publishes_one_outbox_task_while_an_event_is_due(world: World, sender: FakeSender) -> None:
    world.deploy()
    sweep.sweep(world.deps)
    assert [task.id for task in world.queue.tasks if task.kind == "outbox"] == ["due"]
    deliver(world, sender)
    world.queue.tasks.clear()
    sweep.sweep(world.deps)
    assert [task for task in world.queue.tasks if task.kind == "outbox"] == []
    assert queued(world) == 0


def test_receiver_that_is_down_gets_three_attempts_and_later_every_event(world: World, sender: FakeSender) -> None:
    for number in range(10):
        world.deploy(new(f"server-{number}"))
    waiting, sender.down = queued(world), True
    deliver(world, sender)
    assert (sender.attempts, queued(world)) == (outbox.FAILURES, waiting)
    for _ in range(12):
        world.pass_time(3600)
        deliver(world, sender)
    sender.down = False
    world.pass_time(6 * 3600)
    deliver(world, sender)
    assert queued(world) == 0
    assert len({id for id, _ in sender.delivered}) == len(sender.delivered) == waiting


def test_attempts_back_off_and_end_after_three_days(world: World, sender: FakeSender) -> None:
    world.droplet.reachable = False
    sweep.sweep(world.deps)
    world.deliver()
    started_at, sender.down = world.time, True
    attempts: list[timedelta] = []
    while queued(world):
        count = sender.attempts
        deliver(world, sender)
        attempts += [world.time - started_at] * (sender.attempts > count)
        world.pass_time(60)
    assert attempts[0] == timedelta(0)
    assert attempts[-1] <= timedelta(days=3) < world.time - started_at < timedelta(days=3, hours=7)
    assert 15 < len(attempts) < 50
    sender.down = False
    deliver(world, sender)
    assert sender.delivered == []


def test_event_is_sent_again_under_the_same_id_after_a_worker_death(world: World, sender: FakeSender) -> None:
    world.droplet.reachable = False
    world.sweep()

    def die(writes: Sequence[Write]) -> None:
        if sender.delivered:
            world.store.before_commit = lambda writes: None
            raise Unavailable("killed")

    world.store.before_commit = die
    with pytest.raises(Unavailable):
        deliver(world, sender)
    deliver(world, sender)
    assert len(sender.delivered) == 1, "the event was sent again before its next attempt was due"
    world.pass_time(60)
    deliver(world, sender)
    assert len(sender.delivered) == 2
    assert len({id for id, _ in sender.delivered}) == 1
    assert queued(world) == 0


def test_two_workers_send_each_event_once(world: World, sender: FakeSender) -> None:
    for number in range(5):
        world.deploy(new(f"server-{number}"))
    waiting, second = queued(world), FakeSender(world)

    class InterruptedSender(FakeSender):
        def send(self, message_id: str, body: bytes) -> None:
            super().send(message_id, body)
            if self.attempts == 2:
                deliver(world, second)

    first = InterruptedSender(world)
    deliver(world, first)
    assert len({id for id, _ in first.delivered} | {id for id, _ in second.delivered}) == waiting
    assert len(first.delivered) + len(second.delivered) == waiting


def test_slow_receiver_occupies_a_worker_for_less_than_a_minute(world: World, sender: FakeSender) -> None:
    for number in range(20):
        world.deploy(new(f"server-{number}"))
    sender.seconds, started_at = 10, world.time
    deliver(world, sender)
    assert world.time - started_at < timedelta(minutes=1)
    assert 0 < queued(world) < 40


def test_event_of_a_missing_instance_is_dropped(world: World, sender: FakeSender) -> None:
    """A tombstone lives for 30 days and attempts end after 3, so this takes a wrong clock or a manual deletion."""
    instance = world.deploy()
    world.store.commit([Delete(instance_ref(instance.id))])
    deliver(world, sender)
    assert (sender.delivered, queued(world)) == ([], 0)
