"""Commands in a running container of a real engine: their output, their exit codes and their limits."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shim.contract import messages, routes
from shim.contract.messages import Execute
from tests.shim.caller import Answer, Caller
from tests.shim.droplet import Droplet
from tests.shim.fake_engine import FakeEngine
from tests.shim.test_engine_faults import inspection

pytestmark = pytest.mark.docker


def run(droplet: Droplet, name: str, *command: str, **how: Any) -> Answer:
    return droplet.caller.call(routes.EXECUTE, name, Execute(list(command), **how))


def done(answer: Answer) -> messages.Executed:
    assert answer.status == 200, answer.body
    return messages.read(messages.Executed, answer.body)


@pytest.fixture
def running(droplet: Droplet, busybox: str) -> str:
    return droplet.make(busybox, "sleep", "600").name


def test_output_streams_exit_code_and_container_are_answered(droplet: Droplet, running: str) -> None:
    found = done(run(droplet, running, "sh", "-c", "echo out; echo err >&2; exit 7"))
    assert (found.stdout, found.stderr, found.exit_code, found.truncated) == ("out\n", "err\n", 7, False)
    assert (found.container.name, found.container.state) == (running, "running")


def test_command_is_a_list_that_no_shell_reads(droplet: Droplet, running: str) -> None:
    assert done(run(droplet, running, "echo", "$HOME; `id`", "a b")).stdout == "$HOME; `id` a b\n"


def test_environment_directory_and_input_are_passed(droplet: Droplet, running: str) -> None:
    script = "echo $A; pwd; cat"
    found = done(
        run(droplet, running, "sh", "-c", script, environment={"A": "1 2"}, working_directory="/tmp", stdin="é\n")
    )
    assert (found.stdout, found.exit_code) == ("1 2\n/tmp\né\n", 0)


def test_command_that_prints_while_it_reads_ends(droplet: Droplet, running: str) -> None:
    text = "x" * 700_000
    found = done(run(droplet, running, "cat", stdin=text))
    assert (found.stdout, found.truncated, found.exit_code) == (text[: messages.MAX_STREAM_BYTES], True, 0)
    assert done(run(droplet, running, "true", stdin=text)).exit_code == 0


def test_command_past_its_timeout_returns_its_output(droplet: Droplet, running: str) -> None:
    began = time.monotonic()
    found = done(run(droplet, running, "sh", "-c", "echo begun; sleep 9", timeout=1))
    assert (found.stdout, found.exit_code) == ("begun\n", None)
    assert time.monotonic() - began < 3


def test_other_commands_do_not_wait_for_an_execution(droplet: Droplet, running: str) -> None:
    run(droplet, running, "sleep", "9", timeout=1)
    began = time.monotonic()
    droplet.caller.perform(routes.STOP, running, messages.Stop(1))
    assert time.monotonic() - began < 3


def test_missing_command_is_start_failed(droplet: Droplet, running: str) -> None:
    answer = run(droplet, running, "no-such-command")
    assert (answer.status, answer.code) == (422, "start-failed") and "no-such-command" in answer.json["error"][
        "message"
    ]
    assert run(droplet, running, "true", working_directory="/no/such/place").code == "start-failed"


def test_stopped_container_executes_nothing(droplet: Droplet, running: str) -> None:
    droplet.docker.pause(running)
    assert run(droplet, running, "true").code == "not-running"
    droplet.docker.unpause(running)
    droplet.caller.perform(routes.STOP, running, messages.Stop(0))
    answer = run(droplet, running, "true")
    assert (answer.status, answer.code) == (409, "not-running")


def test_output_that_is_not_utf8_is_replaced(droplet: Droplet, running: str) -> None:
    assert done(run(droplet, running, "sh", "-c", r"printf 'a\000\377b'")).stdout == "a\ufffd\ufffdb"


@pytest.mark.parametrize(
    ("requested", "field"),
    [
        (Execute([]), "command"),
        (Execute([""]), "command"),
        (Execute(["x"] * 257), "command"),
        (Execute(["x"], {"A=B": ""}), "environment"),
        (Execute(["x"], {"A\n": ""}), "environment"),
        (Execute(["x"], {}, "tmp"), "working_directory"),
        (Execute(["x"], {}, "/a/../b"), "working_directory"),
        (Execute(["x"], timeout=0), "timeout"),
        (Execute(["x"], timeout=301), "timeout"),
    ],
)
def test_execution_out_of_bounds_is_refused(
    caller: Caller, fake_engine: FakeEngine, name: str, requested: Execute, field: str
) -> None:
    answer = caller.call(routes.EXECUTE, name, requested)
    assert (answer.status, answer.code) == (400, "bad-request") and field in answer.json["error"]["message"]
    assert fake_engine.calls == []


def test_execution_without_readable_end_is_outcome_unknown(
    caller: Caller, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id)))
    fake_engine.on("POST /containers/c1/exec", (201, {"Id": "e1"}))
    fake_engine.on("POST /exec/e1/start", (200, b""))
    fake_engine.on("GET /exec/e1", (500, {"message": "no space left on device"}))
    assert caller.call(routes.EXECUTE, name, Execute(["x"])).code == "outcome-unknown"
