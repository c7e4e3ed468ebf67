"""What calls `converge` and `sweep` in a local world: the push relay and the scheduler, each a process.

    python -m infra.local.triggers relay        delivers queue messages to `converge`, as a Pub/Sub push subscription
    python -m infra.local.triggers scheduler    calls `sweep` each minute, as Cloud Scheduler

Both add the identity token that Google's services add. The Pub/Sub emulator pushes without a token, so it pushes to the
relay; from the embedded queue the relay fetches the messages itself. In both cases `converge` gets the same envelope
and verifies the same kind of token as in a deployment.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from functions.adapters.queue_sqlite import ACK_DEADLINE, SqliteQueue
from functions.domain.errors import Unavailable
from infra.local import deployed, emulators, world
from infra.local.issuer import Issuer
from infra.local.world import PROJECT, World

SUBSCRIPTION = emulators.TOPIC
QUEUE_WORKERS = 4
"""The number of messages of the embedded queue that are delivered at a time."""
QUEUE_POLL_SECONDS = 0.1
SUBSCRIBE_INTERVAL_SECONDS = 2
"""The emulator loses its subscriptions when it restarts."""
SWEEP_INTERVAL_SECONDS = 60
LOG = logging.getLogger("triggers")


class Relay:
    """Pushes envelopes to `converge`. Safe to share between threads."""

    def __init__(self, world: World) -> None:
        self._issuer = Issuer(world)
        self._endpoint = f"http://127.0.0.1:{deployed.port(world, 'converge')}/"

    def push(self, envelope: bytes) -> int:
        """Deliver one message and return the HTTP status of `converge`; 503 if it does not answer."""
        headers = {"Authorization": f"Bearer {self._issuer.service_token()}", "Content-Type": "application/json"}
        try:
            return requests.post(self._endpoint, envelope, headers=headers, timeout=ACK_DEADLINE).status_code
        except requests.RequestException as error:
            LOG.warning("converge does not answer: %s", error)
            return 503


def subscribed(world: World) -> bool:
    """Whether the emulator has the subscription. A message that was published before is never delivered."""
    try:
        return requests.get(f"{_api(world)}/subscriptions/{SUBSCRIPTION}", timeout=5).ok
    except requests.RequestException:
        return False


def run_relay(world: World) -> None:
    """Relay messages of the world's queue until the process is stopped."""
    relay = Relay(world)
    if emulators.installed().pubsub_jar:
        threading.Thread(target=_receive_pushes, args=(world, relay), daemon=True).start()
        _subscribe(world)
    else:
        queue = SqliteQueue(str(emulators.queue_file(world)))
        for _ in range(QUEUE_WORKERS - 1):
            threading.Thread(target=_deliver, args=(queue, relay), daemon=True).start()
        _deliver(queue, relay)


def run_scheduler(world: World) -> None:
    """Call `sweep` each minute until the process is stopped."""
    issuer = Issuer(world)
    url = f"http://127.0.0.1:{deployed.port(world, 'sweep')}/"
    while True:
        time.sleep(SWEEP_INTERVAL_SECONDS)
        try:
            headers = {"Authorization": f"Bearer {issuer.service_token()}"}
            answer = requests.post(url, headers=headers, timeout=SWEEP_INTERVAL_SECONDS)
            LOG.info("sweep answered %s %s", answer.status_code, answer.text.strip()[:200])
        except requests.RequestException as error:
            LOG.warning("sweep does not answer: %s", error)


def _subscribe(world: World) -> None:
    """Create topic and push subscription at the emulator, and create them again after it restarts."""
    api = _api(world)
    subscription = {
        "topic": f"projects/{PROJECT}/topics/{emulators.TOPIC}",
        "ackDeadlineSeconds": ACK_DEADLINE,
        "pushConfig": {"pushEndpoint": f"http://127.0.0.1:{world.relay_port}/"},
        "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
    }
    while True:
        try:
            requests.put(f"{api}/topics/{emulators.TOPIC}", json={}, timeout=5)
            requests.put(f"{api}/subscriptions/{SUBSCRIPTION}", json=subscription, timeout=5)
        except requests.RequestException as error:
            LOG.warning("the Pub/Sub emulator does not answer: %s", error)
        time.sleep(SUBSCRIBE_INTERVAL_SECONDS)


def _api(world: World) -> str:
    return f"http://127.0.0.1:{world.pubsub_port}/v1/projects/{PROJECT}"


def _receive_pushes(world: World, relay: Relay) -> None:
    """Serve the emulator's pushes; each gets the status with which `converge` answered."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status = relay.push(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            LOG.info(format, *arguments)

    ThreadingHTTPServer(("127.0.0.1", world.relay_port), Handler).serve_forever()


def _deliver(queue: SqliteQueue, relay: Relay) -> None:
    """Deliver the due messages of the embedded queue, forever."""

    def push(envelope: dict[str, Any]) -> bool:
        return 200 <= relay.push(json.dumps(envelope).encode()) < 300

    while True:
        try:
            queue.deliver(push, lambda: datetime.now(UTC))
        except Unavailable as error:
            LOG.warning("%s", error)
        time.sleep(QUEUE_POLL_SECONDS)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    run = {"relay": run_relay, "scheduler": run_scheduler}[sys.argv[1]]
    run(world.current())


if __name__ == "__main__":
    main()
