"""The embedded queue on SQLite, for one machine without Pub/Sub and for tests.

It behaves like a push subscription of Pub/Sub: each message is delivered at least once, and again until the endpoint
accepts it. A relay process calls `deliver` in a loop and posts the envelopes to the endpoint.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from functions.adapters.sqlite import Database
from functions.lifecycle.dependencies import Task

# In seconds, as infra/deploy sets up the subscription on Pub/Sub. A push that takes longer than ACK_DEADLINE counts as
# refused, and the message is pushed again.
ACK_DEADLINE = 600
MIN_BACKOFF = 10
MAX_BACKOFF = 600

SUBSCRIPTION = "projects/local/subscriptions/converge"

# `due` is in seconds since 1970; `attempt` counts the pushes that were started.
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT NOT NULL, published TEXT NOT NULL,
        due REAL NOT NULL, attempt INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS messages_due ON messages (due)",
)


class SqliteQueue:
    """Implements lifecycle.dependencies.Queue in a file that any number of processes can use at once.

    Every method raises errors.Unavailable where the file cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._database = Database(path, _SCHEMA)

    def publish(self, tasks: Sequence[Task]) -> None:
        published = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        rows = [(json.dumps(task.message()), published) for task in tasks]
        with self._database.writing() as connection:
            connection.executemany("INSERT INTO messages (data, published, due, attempt) VALUES (?, ?, 0, 0)", rows)

    def deliver(self, push: Callable[[dict[str, Any]], bool], now: Callable[[], datetime]) -> int:
        """Push every message that is due, oldest first, until none is left; return how many were accepted.

        `push` gets the envelope that Pub/Sub would post and returns whether the endpoint accepted it; an exception of
        it ends `deliver`. A message that was refused is due again after 10 s, then after twice as long each time, up to
        600 s. A message whose relay died during the push is due again after 600 s.
        """
        accepted = 0
        while (message := self._claim_next(now().timestamp())) is not None:
            id, data, published, attempt = message
            is_accepted = False
            try:
                is_accepted = push(_envelope(id, data, published))
            finally:
                self._settle(id, attempt, is_accepted, now().timestamp())
            accepted += is_accepted
        return accepted

    def _claim_next(self, now: float) -> tuple[int, str, str, int] | None:
        """The next message that is due, hidden from other relays for as long as its push may take."""
        with self._database.writing() as connection:
            row: tuple[int, str, str, int] | None = connection.execute(
                """UPDATE messages SET due = ?, attempt = attempt + 1
                WHERE id = (SELECT id FROM messages WHERE due <= ? ORDER BY due, id LIMIT 1)
                RETURNING id, data, published, attempt""",
                (now + ACK_DEADLINE, now),
            ).fetchone()
        return row

    def _settle(self, id: int, attempt: int, is_accepted: bool, now: float) -> None:
        with self._database.writing() as connection:
            if is_accepted:
                connection.execute("DELETE FROM messages WHERE id = ?", (id,))
                return
            backoff = min(MIN_BACKOFF * 2 ** min(attempt - 1, 6), MAX_BACKOFF)
            # A relay that outlasted ACK_DEADLINE must not change the time of the attempt that replaced it.
            connection.execute("UPDATE messages SET due = ? WHERE id = ? AND attempt = ?", (now + backoff, id, attempt))


def _envelope(id: int, data: str, published: str) -> dict[str, Any]:
    encoded = base64.b64encode(data.encode()).decode()
    message = {"data": encoded, "messageId": str(id), "publishTime": published, "attributes": {}}
    return {"message": message, "subscription": SUBSCRIPTION}
