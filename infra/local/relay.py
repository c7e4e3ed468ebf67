"""Carries messages from the queue to `converge`, with the token that Pub/Sub itself would add: a process.

The Pub/Sub emulator pushes to this process, for it signs nothing; from the embedded queue this process does the
pushing. Either way `converge` gets the same envelope, and verifies the same kind of token, as when deployed.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from functions.adapters.queue_sqlite import ACK_DEADLINE, SqliteQueue
from functions.domain.errors import Unavailable
from infra.local import backing, deployed, world
from infra.local.issuer import Issuer
from infra.local.world import PROJECT, World

SUBSCRIPTION = backing.TOPIC
# So many messages of the embedded queue are on their way at once; it is asked so often.
CARRIERS = 4
POLL_SECONDS = 0.1
# The emulator forgets the subscription when it starts again.
SUBSCRIBE_EVERY_SECONDS = 2
LOG = logging.getLogger("relay")


class Relay:
    """Delivers pushes, in as many threads as call it."""

    def __init__(self, of: World) -> None:
        self._issuer = Issuer(of)
        self._endpoint = f"http://127.0.0.1:{deployed.port(of, 'converge')}/"

    def push(self, envelope: bytes) -> int:
        """The status that `converge` answered; 503 where it does not answer."""
        headers = {"Authorization": f"Bearer {self._issuer.service_token()}", "Content-Type": "application/json"}
        try:
            return requests.post(self._endpoint, envelope, headers=headers, timeout=ACK_DEADLINE).status_code
        except requests.RequestException as error:
            LOG.warning("converge does not answer: %s", error)
            return 503


def subscribed(of: World) -> bool:
    """Whether the emulator has the subscription: what is published before goes nowhere."""
    try:
        return requests.get(f"{_api(of)}/subscriptions/{SUBSCRIPTION}", timeout=5).ok
    except requests.RequestException:
        return False


def subscribe(of: World) -> None:
    """The topic and its push subscription at the emulator, as they are set up when deployed; again and again."""
    api = _api(of)
    subscription = {
        "topic": f"projects/{PROJECT}/topics/{backing.TOPIC}",
        "ackDeadlineSeconds": ACK_DEADLINE,
        "pushConfig": {"pushEndpoint": f"http://127.0.0.1:{of.relay_port}/"},
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
    }
    while True:
        try:
            requests.put(f"{api}/topics/{backing.TOPIC}", json={}, timeout=5)
            requests.put(f"{api}/subscriptions/{SUBSCRIPTION}", json=subscription, timeout=5)
        except requests.RequestException as error:
            LOG.warning("the Pub/Sub emulator does not answer: %s", error)
        time.sleep(SUBSCRIBE_EVERY_SECONDS)


def _api(of: World) -> str:
    return f"http://127.0.0.1:{of.pubsub_port}/v1/projects/{PROJECT}"


def receive(of: World, relay: Relay) -> None:
    """Takes the emulator's pushes and answers each as `converge` did."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = relay.push(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            LOG.info(format, *arguments)

    ThreadingHTTPServer(("127.0.0.1", of.relay_port), Handler).serve_forever()


def carry(queue: SqliteQueue, relay: Relay) -> None:
    """Takes what is due from the embedded queue, again and again."""

    def push(envelope: dict[str, Any]) -> bool:
        return 200 <= relay.push(json.dumps(envelope).encode()) < 300

    while True:
        try:
            queue.deliver(push, lambda: datetime.now(UTC))
        except Unavailable as error:
            LOG.warning("%s", error)
        time.sleep(POLL_SECONDS)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    of = world.current()
    relay = Relay(of)
    if backing.found().pubsub_jar:
        threading.Thread(target=receive, args=(of, relay), daemon=True).start()
        subscribe(of)
    else:
        queue = SqliteQueue(str(backing.queue_file(of)))
        for _ in range(CARRIERS - 1):
            threading.Thread(target=carry, args=(queue, relay), daemon=True).start()
        carry(queue, relay)


if __name__ == "__main__":
    main()
