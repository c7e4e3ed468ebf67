"""Followed logs of a real engine. The maximum number of followers does not delay other commands."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from shim import app
from shim.contract import messages, routes
from shim.contract.messages import FollowLine
from shim.docker import Engine
from tests.shim.caller import Caller, TlsCaller
from tests.shim.droplet import Droplet
from tests.shim.fake_engine import FakeEngine
from tests.shim.test_engine_faults import inspection

pytestmark = pytest.mark.docker


class Follower:
    def __init__(self, caller: TlsCaller, name: str, query: str = "") -> None:
        self.connection = caller.connect()
        target = routes.FOLLOW.target(name, query)
        self.connection.request("GET", target, headers={"Authorization": "Bearer " + caller.token("GET", target)})
        self.answer: http.client.HTTPResponse = self.connection.getresponse()

    def lines(self) -> Iterator[FollowLine]:
        while text := self.answer.readline():
            yield messages.read(FollowLine, text)

    def texts(self) -> Iterator[str]:
        return (found.line.text for found in self.lines() if found.line)


def test_lines_arrive_as_written_until_the_container_ends(droplet: Droplet, busybox: str) -> None:
    script = "echo one; echo two; sleep 2; echo three >&2"
    made = droplet.make(busybox, "sh", "-c", script, restart_policy="no")
    time.sleep(0.3)
    follower = Follower(droplet.caller, made.name, "tail=1")
    found = follower.texts()
    assert next(found) == "two"
    began = time.monotonic()
    assert next(found) == "three"
    assert time.monotonic() - began > 0.5
    assert list(found) == []
    assert "".join(Follower(droplet.caller, made.name).texts()) == "onetwothree"


def test_empty_log_opens_at_once_and_sends_signs_of_life(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    follower = Follower(droplet.caller, made.name)
    assert next(follower.lines()) == FollowLine()
    chunks = Engine(droplet.url).follow(made.id, 1, "0", silence=0.3)
    assert [next(chunks) for _ in range(3)] == [b"", b"", b""]
    droplet.caller.perform(routes.STOP, made.name, messages.Stop(1))
    assert [*chunks, *follower.texts()] == []


def test_followers_and_a_stalled_pull_do_not_delay_commands(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sleep", "600")
    # A registry that accepts connections and never answers.
    silent = socket.create_server(("127.0.0.1", 0))
    image = messages.Pull(f"127.0.0.1:{silent.getsockname()[1]}/some/probe:1")
    pull = threading.Thread(target=droplet.caller.call, args=(routes.PULL, "", image))
    pull.start()
    followers = [Follower(droplet.caller, made.name) for _ in range(app.AT_ONCE[routes.FOLLOW])]
    assert all(follower.answer.status == 200 for follower in followers)
    refused = droplet.caller.call(routes.FOLLOW, made.name)
    assert (refused.status, refused.code) == (503, "too-many-at-once")
    began = time.monotonic()
    droplet.caller.perform(routes.STOP, made.name, messages.Stop(1))
    droplet.caller.perform(routes.START, made.name)
    droplet.caller.perform(routes.STOP, made.name, messages.Stop(1))
    assert time.monotonic() - began < 5
    assert pull.is_alive()
    silent.close()
    pull.join()
    # The followers end with the container and free their slots.
    for follower in followers:
        assert list(follower.texts()) == []
    assert droplet.caller.call(routes.FOLLOW, made.name).status == 200


def test_closed_follower_frees_its_slot(droplet: Droplet, busybox: str) -> None:
    made = droplet.make(busybox, "sh", "-c", "while true; do echo x; sleep 0.2; done")
    for _ in range(app.AT_ONCE[routes.FOLLOW]):
        follower = Follower(droplet.caller, made.name)
        next(follower.lines())
        follower.connection.close()
        follower.answer.close()
    for _ in range(50):
        follower = Follower(droplet.caller, made.name)
        if follower.answer.status == 200:
            break
        time.sleep(0.2)
    assert follower.answer.status == 200
    follower.connection.close()


def test_log_that_fails_to_open_is_an_error(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    assert caller.call(routes.FOLLOW, name).code == "no-such-container"
    fake_engine.on(f"GET /containers/{name}/json", (200, inspection(name, toolbox_id)))
    fake_engine.on("GET /containers/c1/logs", (500, {"message": "no space left on device"}))
    assert caller.call(routes.FOLLOW, name).code == "disk-full"
