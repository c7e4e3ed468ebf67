"""The embedded queue on SQLite: for one machine without Pub/Sub.

It keeps Pub/Sub's promise of a push subscription: each message is delivered at least once, and again until its
push is accepted. A relay calls `deliver` in a loop and carries the envelopes to the endpoint.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from functions.adapters.sqlite import Database
from functions.lifecycle.dependencies import Task

# As the subscription on Pub/Sub is set up; in seconds. An accepted push takes no longer than the first.
ACK_DEADLINE = 600
SHORTEST_BACKOFF = 10
LONGEST_BACKOFF = 600

SUBSCRIPTION = "projects/local/subscriptions/converge"

# `due` is in seconds since 1970; `attempt` counts the pushes begun.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT NOT NULL, published TEXT NOT NULL,
        due REAL NOT NULL, attempt INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS messages_due ON messages (due)",
)


class SqliteQueue:
    """Queue in a file that any number of processes publish to and deliver from. Raises errors.Unavailable."""

    def __init__(self, path: str) -> None:
        self._database = Database(path, _SCHEMA)

    def publish(self, tasks: Sequence[Task]) -> None:
        published = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        rows = [(json.dumps({"kind": task.kind, "id": task.id}), published) for task in tasks]
        with self._database.writing() as connection:
            connection.executemany("INSERT INTO messages (data, published, due, attempt) VALUES (?, ?, 0, 0)", rows)

    def deliver(self, push: Callable[[dict[str, Any]], bool], now: Callable[[], datetime]) -> int:
        """Push every message that is due, oldest first, until none is; the number of those that were accepted.

        `push` gets Pub/Sub's push envelope and says whether the endpoint accepted it; what it raises passes. A
        message that was not accepted is due again after 10 s, doubling up to 600 s; one whose process died between
        push and answer, after 600 s.
        """
        accepted = 0
        while (taken := self._take(now().timestamp())) is not None:
            id, data, published, attempt = taken
            done = False
            try:
                done = push(_envelope(id, data, published))
            finally:
                self._settle(id, attempt, done, now().timestamp())
            accepted += done
        return accepted

    def _take(self, now: float) -> tuple[int, str, str, int] | None:
        """The next message that is due, hidden from others for as long as its push may take."""
        with self._database.writing() as connection:
            row: tuple[int, str, str, int] | None = connection.execute(
                """UPDATE messages SET due = ?, attempt = attempt + 1
                WHERE id = (SELECT id FROM messages WHERE due <= ? ORDER BY due, id LIMIT 1)
                RETURNING id, data, published, attempt""",
                (now + ACK_DEADLINE, now),
            ).fetchone()
        return row

    def _settle(self, id: int, attempt: int, done: bool, now: float) -> None:
        with self._database.writing() as connection:
            if done:
                connection.execute("DELETE FROM messages WHERE id = ?", (id,))
                return
            backoff = min(SHORTEST_BACKOFF * 2 ** min(attempt - 1, 6), LONGEST_BACKOFF)
            # Not where a later attempt has begun: its time counts.
            connection.execute("UPDATE messages SET due = ? WHERE id = ? AND attempt = ?", (now + backoff, id, attempt))


def _envelope(id: int, data: str, published: str) -> dict[str, Any]:
    encoded = base64.b64encode(data.encode()).decode()
    message = {"data": encoded, "messageId": str(id), "publishTime": published, "attributes": {}}
    return {"message": message, "subscription": SUBSCRIPTION}
