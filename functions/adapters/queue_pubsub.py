"""The queue on Pub/Sub.

It uses the generated low-level client (google.pubsub_v1), whose `publish` is one blocking call. The usual client
batches messages in a background thread, and the CPU of a function is throttled after its answer: such a message might
never be sent.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from functions.adapters.google_calls import call_within, no_retries
from functions.domain import errors
from functions.lifecycle.dependencies import Task

if TYPE_CHECKING:
    from google.pubsub_v1 import PublisherClient

# For a whole `publish`, retries included.
PUBLISH_SECONDS = 10.0
# Pub/Sub's limit of messages in one call: https://cloud.google.com/pubsub/quotas
MAX_BATCH = 1000


class PubsubQueue:
    """Implements lifecycle.dependencies.Queue: publishes each task as JSON to a topic.

    The client is made on first use, because a gRPC client that is made before the server forks hangs in the children.
    It reads PUBSUB_EMULATOR_HOST then.

    `publish` raises errors.Unavailable when Pub/Sub did not confirm the messages; some may be stored all the same. A
    task that is delivered twice does no harm, since it only says what to look at.
    """

    def __init__(self, project: str, topic: str) -> None:
        self._topic = f"projects/{project}/topics/{topic}"
        self._connecting = threading.Lock()
        self._client: PublisherClient | None = None

    def publish(self, tasks: Sequence[Task]) -> None:
        from google.api_core.exceptions import GoogleAPICallError

        client = self._connect_once()
        messages = [{"data": json.dumps(task.message()).encode()} for task in tasks]
        requests = [
            {"topic": self._topic, "messages": messages[start : start + MAX_BATCH]}
            for start in range(0, len(messages), MAX_BATCH)
        ]

        def send(seconds_left: float) -> None:
            # A batch that was accepted is removed, so that a retry does not send it again.
            while requests:
                client.publish(requests[0], retry=no_retries(), timeout=seconds_left)
                del requests[0]

        try:
            call_within(PUBLISH_SECONDS, "Pub/Sub", send)
        except GoogleAPICallError as error:
            raise errors.Unavailable(f"Pub/Sub did not accept the tasks: {error.message}. Try again.") from error

    def _connect_once(self) -> PublisherClient:
        with self._connecting:
            if self._client is None:
                from google.pubsub_v1 import PublisherClient

                self._client = PublisherClient()
            return self._client
