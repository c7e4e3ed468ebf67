"""A push endpoint, and the two ways to it: the Pub/Sub emulator over HTTP, and a relay of the embedded queue."""

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


class Pushed:
    """Every envelope that arrived. `accept` says of one whether it is accepted; at first every one is."""

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
        """All that arrived, once they are `count`, or however many they are after `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._arrived) >= count, seconds)
            return list(self._arrived)


def tasks(envelopes: list[Envelope]) -> list[tuple[str, str]]:
    """(kind, id) of each message, sorted: a queue promises no order."""
    data = [json.loads(base64.b64decode(envelope["message"]["data"])) for envelope in envelopes]
    return sorted((item["kind"], item["id"]) for item in data)


@contextmanager
def through_relay(queue: SqliteQueue) -> Iterator[Pushed]:
    """Delivers again and again, on a clock on which a second passes in 10 ms."""
    pushed, started, over = Pushed(), time.monotonic(), threading.Event()

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=100 * (time.monotonic() - started))

    def relay() -> None:
        while not over.wait(0.01):
            queue.deliver(pushed.push, now)

    thread = threading.Thread(target=relay)
    thread.start()
    yield pushed
    over.set()
    thread.join()


@contextmanager
def through_pubsub(project: str, topic: str) -> Iterator[Pushed]:
    """A topic in the emulator that PUBSUB_EMULATOR_HOST names, and a push subscription to a server on loopback."""
    from google.pubsub_v1 import PublisherClient, SubscriberClient

    pushed = Pushed()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            envelope = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204 if pushed.push(envelope) else 503)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: pytest shows what a failing test needs."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
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
        yield pushed
        SubscriberClient().delete_subscription(subscription=subscription)
        server.shutdown()
        thread.join()
