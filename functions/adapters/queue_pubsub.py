"""The queue on Pub/Sub.

The generated client, whose `publish` is one blocking RPC: the usual one publishes from a background thread, and a
function's CPU is throttled once it has answered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from functions.adapters.google_calls import answer_within, never
from functions.domain import errors
from functions.lifecycle.dependencies import Task

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherClient

# Repeats included; each RPC of a call with more messages than one RPC can carry may take this long.
PUBLISH_SECONDS = 10.0
# Pub/Sub's limit for one RPC.
LARGEST_BATCH = 1000


class PubsubQueue:
    """Publishes `{"kind", "id"}` as JSON to a topic of the project.

    The client is made on first use, after the server has forked; it reads PUBSUB_EMULATOR_HOST then. Raises
    errors.Unavailable when the topic did not take the messages, some of which may be stored all the same.
    """

    def __init__(self, project: str, topic: str) -> None:
        self._topic = f"projects/{project}/topics/{topic}"
        self._connecting = threading.Lock()
        self._client: PublisherClient | None = None

    def publish(self, tasks: Sequence[Task]) -> None:
        from google.api_core.exceptions import GoogleAPICallError

        client = self._connected()
        messages = [{"data": json.dumps({"kind": task.kind, "id": task.id}).encode()} for task in tasks]
        requests = [
            {"topic": self._topic, "messages": messages[start : start + LARGEST_BATCH]}
            for start in range(0, len(messages), LARGEST_BATCH)
        ]

        def send(left: float) -> None:
            # What was taken before a refusal is not sent again.
            while requests:
                client.publish(requests[0], retry=never(), timeout=left)
                del requests[0]

        try:
            answer_within(PUBLISH_SECONDS, "Pub/Sub", send)
        except GoogleAPICallError as error:
            raise errors.Unavailable(f"Pub/Sub did not take the message: {error.message}") from error

    def _connected(self) -> PublisherClient:
        with self._connecting:
            if self._client is None:
                from google.pubsub_v1 import PublisherClient

                self._client = PublisherClient()
            return self._client
