"""The engine restarts or is killed during a command: no command hangs or answers falsely, and all can be repeated."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shim.contract import messages, routes
from shim.contract.messages import Execute, Stop
from tests.shim.droplet import Droplet, busybox_image
from tests.shim.own_engine import OwnEngine

pytestmark = pytest.mark.docker
# Stopping takes three seconds, so that the engine ends in the middle of it.
SLOW = ("sh", "-c", "trap 'sleep 3; exit' TERM; while true; do sleep 0.2; done")
HONEST = ("outcome-unknown", "engine-unavailable", "try-again")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_engine_that_ends_during_commands_is_survived(
    own_engine: OwnEngine, own_droplet: Droplet, how: signal.Signals
) -> None:
    image = next(busybox_image(own_engine.url))
    caller = own_droplet.caller
    stopped, followed = (own_droplet.make(image, *SLOW, init=False) for _ in range(2))
    with ThreadPoolExecutor(4) as pool:
        stop = pool.submit(caller.call, routes.STOP, stopped.name, Stop(20))
        follow = pool.submit(caller.call, routes.FOLLOW, followed.name)
        execute = pool.submit(caller.call, routes.EXECUTE, followed.name, Execute(["sleep", "60"]))
        time.sleep(1)
        gone = threading.Thread(target=own_engine.restart, args=(how,))
        gone.start()
        assert stop.result(40).status in (200, 503, 504)
        followed_to = messages.read(messages.FollowLine, follow.result(40).body.splitlines()[-1])
        # The log ends without an error if an engine that shuts down in order has stopped the container before.
        assert followed_to.error["code"] in HONEST if followed_to.error else how == signal.SIGTERM
        if (executed := execute.result(40)).status != 200:
            assert executed.code in HONEST
        gone.join()
    status = caller.call(routes.STATUS)
    assert {container["name"] for container in status.json["containers"]} == {stopped.name, followed.name}
    assert status.json["engine_id"] == own_droplet.docker.inspect_network("none")["Id"]
    assert caller.perform(routes.STOP, stopped.name, Stop(0)).container.state == "exited"  # type: ignore[union-attr]
    assert caller.perform(routes.START, followed.name).container.state == "running"  # type: ignore[union-attr]


def test_stopped_engine_is_engine_unavailable(own_engine: OwnEngine, own_droplet: Droplet) -> None:
    made = own_droplet.make(next(busybox_image(own_engine.url)), "sleep", "600")
    own_engine.end()
    try:
        for route in (routes.STATUS, routes.INSPECT, routes.START, routes.LOGS, routes.FOLLOW):
            answer = own_droplet.caller.call(route, made.name)
            assert (answer.status, answer.code) == (503, "engine-unavailable")
        assert own_droplet.caller.send("GET", "/health", {}, b"").status == 200
    finally:
        own_engine.begin()
    # Docker itself restarts the container.
    assert own_droplet.caller.perform(routes.START, made.name).container.state == "running"  # type: ignore[union-attr]
