"""A push endpoint, and the two ways in which messages reach it: Pub/Sub's emulator, and the embedded queue's relay."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from functions.adapters.queue_sqlite import SqliteQueue

Envelope = dict[str, Any]


class PushEndpoint:
    """Records every envelope that arrives. `accept` decides whether an envelope is accepted; by default each is."""

    def __init__(self) -> None:
        self.accept: Callable[[Envelope], bool] = lambda _: True
        self._arrived: list[Envelope] = []
        self._changed = threading.Condition()

    def push(self, envelope: Envelope) -> bool:
        with self._changed:
            self._arrived.append(envelope)
            self._changed.notify_all()
        return self.accept(envelope)

    def wait(self, count: int, seconds: float = 60.0) -> list[Envelope]:
        """Wait until `count` envelopes have arrived, or for `seconds`; return all that have arrived."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._arrived) >= count, seconds)
            return list(self._arrived)


def tasks(envelopes: list[Envelope]) -> list[tuple[str, str]]:
    """(kind, id) of each message, sorted because a queue promises no order."""
    data = [json.loads(base64.b64decode(envelope["message"]["data"])) for envelope in envelopes]
    return sorted((item["kind"], item["id"]) for item in data)


@contextmanager
def through_relay(queue: SqliteQueue) -> Iterator[PushEndpoint]:
    """Deliver in a loop, on a clock on which a second passes in 10 ms."""
    endpoint, started, stopped = PushEndpoint(), time.monotonic(), threading.Event()

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=100 * (time.monotonic() - started))

    def relay() -> None:
        while not stopped.wait(0.01):
            queue.deliver(endpoint.push, now)

    thread = threading.Thread(target=relay)
    thread.start()
    yield endpoint
    stopped.set()
    thread.join()


@contextmanager
def through_pubsub(project: str, topic: str) -> Iterator[PushEndpoint]:
    """Create a topic in the emulator, with a push subscription to an HTTP server on loopback."""
    from google.pubsub_v1 import PublisherClient, SubscriberClient

    endpoint = PushEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            envelope = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if endpoint.push(envelope) else 503)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing: pytest shows what a failing test needs."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        subscription = f"projects/{project}/subscriptions/{topic}"
        PublisherClient().create_topic(name=f"projects/{project}/topics/{topic}")
        SubscriberClient().create_subscription(
            {
                "name": subscription,
                "topic": f"projects/{project}/topics/{topic}",
                "push_config": {"push_endpoint": f"http://127.0.0.1:{server.server_port}/converge"},
                "ack_deadline_seconds": 600,
            }
        )
        yield endpoint
        SubscriberClient().delete_subscription(subscription=subscription)
        server.shutdown()
        thread.join()
