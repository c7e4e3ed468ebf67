"""The contract of both queues, and what is particular to each."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.queue_pubsub import PubsubQueue
from functions.adapters.queue_sqlite import ACK_DEADLINE, SqliteQueue
from functions.domain import errors
from functions.lifecycle.dependencies import Queue, Task
from tests.adapters.emulators import free_port
from tests.adapters.processes import python
from tests.adapters.pushes import PushEndpoint, tasks

QueueAndPushes = tuple[Queue, PushEndpoint]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_published_tasks_are_pushed(queue_and_pushes: QueueAndPushes) -> None:
    queue, endpoint = queue_and_pushes
    queue.publish([Task("instance", "a"), Task("toolbox", "b")])
    queue.publish([Task("instance", "ü/☃")])
    assert tasks(endpoint.wait(3)) == [("instance", "a"), ("instance", "ü/☃"), ("toolbox", "b")]


def test_task_of_several_ids_is_one_message(queue_and_pushes: QueueAndPushes) -> None:
    queue, endpoint = queue_and_pushes
    queue.publish([Task("toolboxes", ids=("a", "ü/☃"))])
    [envelope] = endpoint.wait(1)
    data = json.loads(base64.b64decode(envelope["message"]["data"]))
    assert data == {"kind": "toolboxes", "ids": ["a", "ü/☃"]}


def test_publishing_no_tasks_is_no_error(queue_and_pushes: QueueAndPushes) -> None:
    queue, endpoint = queue_and_pushes
    queue.publish([])
    assert endpoint.wait(1, seconds=0.2) == []


def test_more_tasks_than_one_call_can_carry_are_published(queue_and_pushes: QueueAndPushes) -> None:
    queue, endpoint = queue_and_pushes
    queue.publish([Task("instance", str(number)) for number in range(1001)])
    assert len(set(tasks(endpoint.wait(1001)))) == 1001


def test_refused_message_is_pushed_again_and_an_accepted_one_is_not(queue_and_pushes: QueueAndPushes) -> None:
    queue, endpoint = queue_and_pushes
    refused: list[object] = []

    def refuse_once(envelope: dict[str, Any]) -> bool:
        refused.append(envelope)
        return len(refused) > 1

    endpoint.accept = refuse_once
    queue.publish([Task("instance", "a")])
    first, second = endpoint.wait(2)
    assert first == second
    assert len(endpoint.wait(3, seconds=1.5)) == 2


def test_envelope_is_that_of_a_pubsub_push(queue_and_pushes: QueueAndPushes) -> None:
    queue, endpoint = queue_and_pushes
    queue.publish([Task("instance", "a")])
    [envelope] = endpoint.wait(1)
    message = envelope["message"]
    assert set(envelope) == {"message", "subscription"}
    assert envelope["subscription"].startswith("projects/") and envelope["subscription"].endswith("/converge")
    # Pub/Sub repeats two of them in snake case, for older clients.
    assert set(message) - {"message_id", "publish_time"} == {"data", "messageId", "publishTime", "attributes"}
    assert isinstance(message["messageId"], str) and message["attributes"] == {}
    assert message["publishTime"].endswith("Z")
    assert abs(datetime.fromisoformat(message["publishTime"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_unreachable_pubsub_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(errors.Unavailable):
        PubsubQueue("project", "converge").publish([Task("instance", "a")])
    # Sooner than a lease ends; a busy machine adds seconds to the limit of ten.
    assert time.monotonic() - began < 30


@pytest.mark.emulator
def test_missing_topic_is_unavailable(project: str, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    with pytest.raises(errors.Unavailable, match="not found"):
        PubsubQueue(project, "nowhere").publish([Task("instance", "a")])


def test_queue_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(errors.Unavailable):
        SqliteQueue(str(tmp_path / "no such folder" / "queue.db")).publish([Task("instance", "a")])


def test_backoff_doubles_from_10_seconds_to_600(tmp_path: Path) -> None:
    queue = SqliteQueue(str(tmp_path / "queue.db"))
    queue.publish([Task("instance", "a")])
    pushes: list[datetime] = []
    clock = NOON

    def now() -> datetime:
        return clock

    def refuse(_: dict[str, Any]) -> bool:
        pushes.append(clock)
        return False

    while len(pushes) < 10:
        queue.deliver(refuse, now)
        clock += timedelta(seconds=10)
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(pushes)]
    assert gaps == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_message_is_pushed_again_after_a_crash_during_its_push(tmp_path: Path) -> None:
    path = str(tmp_path / "queue.db")
    queue = SqliteQueue(path)
    queue.publish([Task("instance", "a")])
    crash = python(
        """import os, sys
        from datetime import UTC, datetime
        from functions.adapters.queue_sqlite import SqliteQueue
        noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        SqliteQueue(sys.argv[1]).deliver(lambda _: os._exit(9), lambda: noon)""",
        path,
    )
    assert crash.wait() == 9
    endpoint = PushEndpoint()
    assert queue.deliver(endpoint.push, lambda: NOON + timedelta(seconds=ACK_DEADLINE - 1)) == 0
    assert queue.deliver(endpoint.push, lambda: NOON + timedelta(seconds=ACK_DEADLINE)) == 1
    assert tasks(endpoint.wait(1)) == [("instance", "a")]


def test_exception_of_a_push_is_raised_and_the_message_pushed_again(tmp_path: Path) -> None:
    queue, endpoint = SqliteQueue(str(tmp_path / "queue.db")), PushEndpoint()
    queue.publish([Task("instance", "a")])

    def broken(_: dict[str, Any]) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        queue.deliver(broken, lambda: NOON)
    assert queue.deliver(endpoint.push, lambda: NOON + timedelta(seconds=10)) == 1


def test_late_answer_does_not_change_a_later_attempt(tmp_path: Path) -> None:
    queue = SqliteQueue(str(tmp_path / "queue.db"))
    queue.publish([Task("instance", "a")])
    clock = NOON

    def slow(_: dict[str, Any]) -> bool:
        nonlocal clock
        clock = NOON + timedelta(seconds=ACK_DEADLINE)
        queue.deliver(lambda _: False, lambda: clock)
        return False

    queue.deliver(slow, lambda: clock)
    # The second push, refused at that time, is due again 20 s later; the first one's answer would make that 10 s.
    assert queue.deliver(lambda _: True, lambda: clock + timedelta(seconds=19)) == 0
    assert queue.deliver(lambda _: True, lambda: clock + timedelta(seconds=20)) == 1


def test_several_processes_deliver_each_message_once(tmp_path: Path) -> None:
    path, log = str(tmp_path / "queue.db"), tmp_path / "delivered"
    SqliteQueue(path).publish([Task("instance", str(number)) for number in range(200)])
    script = """import base64, sys
        from datetime import UTC, datetime
        from functions.adapters.queue_sqlite import SqliteQueue
        log = open(sys.argv[2], "a", buffering=1)
        def push(envelope):
            log.write(base64.b64decode(envelope["message"]["data"]).decode() + "\\n")
            return True
        SqliteQueue(sys.argv[1]).deliver(push, lambda: datetime.now(UTC))"""
    relays = [python(script, path, str(log)) for _ in range(4)]
    assert [relay.wait() for relay in relays] == [0, 0, 0, 0]
    delivered = [json.loads(line)["id"] for line in log.read_text().splitlines()]
    assert sorted(delivered, key=int) == [str(number) for number in range(200)]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (0,)
