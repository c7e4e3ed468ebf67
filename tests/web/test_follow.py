"""A log that is followed: real lines as they come, comments in between, and an end that says why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, request

from functions.web import app
from functions.web.server_sent_events import ServerSentEvent
from shim.contract import errors, messages
from tests.fakes.droplet import IMAGE, FakeLines
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

TOOLS = f"/{TOOLBOX}/tools"
SECRET = "planted-secret"
SILENCE = messages.FollowLine()


def line(text: str) -> messages.FollowLine:
    return messages.FollowLine(messages.LogLine("2026-01-01T00:00:00.000000001Z", "stdout", text))


@pytest.fixture(autouse=True)
def deployed(call: Caller) -> None:
    body = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE, "secretVariables": {"A": SECRET}}
    assert call("POST", "toolbox-tools", TOOLS, json=body).status_code == 201


def follow(call: Caller, **query: str) -> Any:
    return call("GET", "toolbox-tools", f"{TOOLS}/server/logs", query_string={"follow": "1", **query})


def test_lines_come_as_events_with_their_times_and_secrets_struck_out(call: Caller, world: World) -> None:
    world.droplet.log = [line("one"), SILENCE, line(f"two {SECRET}\rover")]
    answer = follow(call)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    time = "2026-01-01T00:00:00.000000001Z"
    assert answer.text == (
        f": \n\nid: {time}\ndata: {time} one\n\n: \n\nid: {time}\ndata: {time} two ***\ndata: over\n\n"
        'event: end\ndata: {"reason": "The log has ended: the container has stopped."}\n\n'
    )


def test_a_busy_log_has_a_comment_every_fifteen_seconds_and_ends_after_five_minutes(call: Caller, world: World) -> None:
    class Slow(FakeLines):
        def __next__(self) -> messages.FollowLine:
            world.pass_time(5)
            return super().__next__()

    world.droplet.lines = Slow([line(str(number)) for number in range(100)])
    text = follow(call).text
    assert text.count("data: 2026") == 60
    assert text.count(": \n\n") == 1 + 20
    assert "The stream has lasted 300 seconds." in text


def test_what_fails_in_the_middle_is_the_last_event_and_a_problem(call: Caller, world: World) -> None:
    world.droplet.log = [line("one"), errors.EngineUnavailable("the engine does not answer")]
    answer = follow(call)
    event = answer.text.rstrip("\n").rpartition("\n\n")[2]
    kind, _, data = event.partition("\n")
    problem = json.loads(data.removeprefix("data: "))
    assert (kind, problem["type"]) == ("event: problem", "urn:toolboxes:problem:engine-unavailable")
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    world.droplet.log = [RuntimeError("a bug")]
    assert "internal error" in follow(call).text and "a bug" not in follow(call).text


def test_what_cannot_be_followed_at_all_is_an_ordinary_problem(call: Caller, world: World) -> None:
    world.droplet.reachable = False
    assert follow(call).status_code == 503
    world.droplet.reachable = True
    world.droplet.containers.clear()
    assert (follow(call).status_code, follow(call).json["type"].rpartition(":")[2]) == (409, "not-allowed-now")
    assert follow(call, tail="0").status_code == 400
    assert follow(call, follow="perhaps").status_code == 400


def test_a_follower_that_goes_is_let_go(call: Caller, world: World) -> None:
    lines = world.droplet.lines = FakeLines([line("one"), line("two")])
    answer = call._clients["toolbox-tools"].get(
        f"{TOOLS}/server/logs?follow=1", headers={"Authorization": f"Bearer {call.token}"}, buffered=False
    )
    assert next(iter(answer.response)) and not lines.closed
    answer.close()
    assert lines.closed and lines.rest


def test_a_stream_outlives_the_request_of_the_application_that_handed_it_on(
    call: Caller, world: World, apps: dict[str, Flask]
) -> None:
    """As functions-framework does: its own Flask application serves, and ours is behind it."""
    outer = Flask("outer")
    outer.add_url_rule("/<path:below>", "all", lambda below: app.serve(apps["toolbox-tools"], "toolbox-tools", request))
    world.droplet.log = [line("one"), RuntimeError("a bug")]
    path = f"/api/toolbox-tools{TOOLS}/server/logs?follow=1"
    answer = outer.test_client().get(path, headers={"Authorization": f"Bearer {call.token}"})
    assert (answer.status_code, "data: 2026" in answer.text, "internal error" in answer.text) == (200, True, True)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n", "\0"])
def test_an_event_cannot_be_forged_by_its_id_or_type(end: str) -> None:
    event = str(ServerSentEvent("line", f"a{end}data: forged", f"b{end}data: forged"))
    assert event == "event: adata: forged\nid: bdata: forged\ndata: line\n\n"
