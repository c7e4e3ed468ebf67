"""Commands run in a container: once under a key, and nothing of their environment is stored or shown."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from functions.domain.errors import ShimIncompatible, ToolboxRefused, ToolboxUnreachable, Unavailable
from functions.web.app import log_formatter
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.fakes.droplet import IMAGE, Fault
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Caller

EXEC = f"/{TOOLBOX}/tools/server/exec"
COMMAND = {
    "command": ["sh", "-c", "cat"], "environmentVariables": {"TOKEN": "planted-token"}, "stdin": "planted-input",
    "workingDirectory": "/srv", "timeout": 5,
}  # fmt: skip
SENT = messages.Execute(["sh", "-c", "cat"], {"TOKEN": "planted-token"}, "/srv", "planted-input", 5)
KEY = {"Idempotency-Key": "once"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(f"{tmp_path}/store.db")
    made.add_toolbox()
    return made


@pytest.fixture(autouse=True)
def deployed(call: Caller) -> dict[str, Any]:
    body = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE}
    return dict(call("POST", "toolbox-tools", f"/{TOOLBOX}/tools", json=body).json)


def run(call: Caller, headers: dict[str, str] | None = None, **more: Any) -> Any:
    return call("POST", "toolbox-tools", EXEC, json={**COMMAND, **more}, headers=headers or {})


def test_exec_runs_the_command_and_answers_its_output_and_the_container(
    call: Caller, world: World, deployed: dict[str, Any]
) -> None:
    answer = run(call)
    assert (answer.status_code, world.droplet.executed) == (200, [SENT])
    assert answer.json == {
        "exit_code": 0, "timed_out": False, "stdout": "planted-input{'TOKEN': 'planted-token'}", "stderr": "",
        "truncated": False, "container_id": deployed["container_id"], "container_name": deployed["container_name"],
        "container_state": "running",
    }  # fmt: skip


def test_a_repeat_under_its_key_is_answered_the_same_and_not_run_again(call: Caller, world: World) -> None:
    first, again = run(call, KEY), run(call, KEY)
    assert (again.status_code, again.json) == (200, first.json)
    assert len(world.droplet.executed) == 1
    assert run(call, KEY, timeout=6).status_code == 422


@pytest.mark.parametrize("after", [False, True])
def test_after_an_unknown_outcome_a_repeat_says_so_and_runs_nothing(call: Caller, world: World, after: bool) -> None:
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("it broke off"), routes.EXECUTE, after))
    calls = [run(call, KEY), run(call, KEY), run(call, KEY)]
    assert [(c.status_code, c.json["type"].rpartition(":")[2]) for c in calls] == [(504, "outcome-unknown")] * 3
    assert len(world.droplet.executed) == after


def test_an_answer_that_could_not_be_kept_is_given_and_its_repeat_runs_nothing(call: Caller, world: World) -> None:
    def fail(writes: Any) -> None:
        if world.droplet.executed:
            raise Unavailable("the store did not answer")

    world.store.before_commit = fail
    assert run(call, KEY).status_code == 200
    world.store.before_commit = lambda writes: None
    assert run(call, KEY).json["type"].endswith("outcome-unknown")
    assert len(world.droplet.executed) == 1


def test_a_second_that_comes_while_the_first_is_under_way_runs_nothing(call: Caller, world: World) -> None:
    seconds: list[int] = []

    def meanwhile(route: routes.Route, name: str) -> None:
        if route is routes.EXECUTE and not seconds:
            seconds.append(0)
            seconds[0] = run(call, KEY).status_code

    world.droplet.before_command = meanwhile
    assert run(call, KEY).status_code == 200
    assert (seconds, len(world.droplet.executed)) == ([504], 1)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ToolboxUnreachable("no connection"), 503),
        (shim_errors.Busy("enough"), 503),
        (shim_errors.NotRunning("it does not run"), 409),
        (shim_errors.NoSuchContainer("none"), 409),
        (shim_errors.StartFailed("exec: not found"), 422),
    ],
)
def test_what_was_surely_not_run_may_be_asked_again_under_the_same_key(
    call: Caller, world: World, error: Exception, status: int
) -> None:
    world.droplet.faults.append(Fault(error, routes.EXECUTE))
    assert run(call, KEY).status_code == status
    assert run(call, KEY).status_code == 200
    assert len(world.droplet.executed) == 1


def test_a_command_of_unknown_end_is_an_answer_and_not_an_error(call: Caller, world: World) -> None:
    container = next(iter(world.droplet.containers.values()))
    world.droplet.execution = messages.Executed(container, None, "so far", "", truncated=True)
    answer = run(call).json
    assert (answer["exit_code"], answer["timed_out"], answer["stdout"]) == (None, True, "so far")


def test_a_kept_answer_is_cut_to_what_a_document_holds(call: Caller, world: World) -> None:
    container = next(iter(world.droplet.containers.values()))
    world.droplet.execution = messages.Executed(container, 0, "ü" * 400_000, "\1" * 400_000, truncated=False)
    first, again = run(call, KEY).json, run(call, KEY).json
    assert (first["truncated"], again["truncated"]) == (False, True)
    assert first["stdout"].startswith(again["stdout"]) and len(again["stdout"]) > 1_000


def test_of_environment_and_input_nothing_is_kept_or_logged_and_the_act_is_on_record(
    call: Caller, world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path, deployed: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG)
    run(call, KEY)
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("it broke off"), routes.EXECUTE, after=True))
    run(call)
    written = [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    for text in [*written, *(log_formatter().format(record) for record in caplog.records), repr(SENT)]:
        assert "planted" not in text
    events = call("GET", "toolbox-tools", EXEC.replace("exec", "events")).json
    acts = [(event["type"], event["actor"]) for event in events if event["type"] == "exec_requested"]
    assert acts == [("exec_requested", deployed["user_id"])] * 2


def test_neither_the_command_nor_its_directory_stands_in_the_log(
    call: Caller, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    quoted = "no such command planted-word in /planted-directory"
    errors = (
        shim_errors.StartFailed,
        shim_errors.Refused,
        shim_errors.OutcomeUnknown,
        ToolboxRefused,
        ShimIncompatible,
    )
    for error in errors:
        world.droplet.faults.append(Fault(error(quoted), routes.EXECUTE))
        answer = run(call, command=["planted-word"], workingDirectory="/planted-directory")
        assert answer.status_code >= 400 and "planted-word" in answer.json["detail"]
    lines = [log_formatter().format(record) for record in caplog.records]
    assert any("start-failed" in line for line in lines)
    assert all("planted" not in line for line in lines)


@pytest.mark.parametrize(
    "more",
    [{"command": []}, {"command": [""]}, {"command": "ls"}, {"command": ["a\0"]}, {"timeout": 0}, {"timeout": 301},
     {"environmentVariables": {"A": None}}, {"environmentVariables": {"A=B": "c"}}, {"workingDirectory": "../x"},
     {"stdin": "x" * 131_073}, {"stdin": "x" * 131_060}, {"user": "root"}],
)  # fmt: skip
def test_a_command_that_cannot_be_is_refused(call: Caller, world: World, more: dict[str, Any]) -> None:
    assert run(call, **more).status_code == 400
    assert world.droplet.executed == []


def test_what_does_not_run_has_no_stats_and_takes_no_command(call: Caller, world: World) -> None:
    measured = call("GET", "toolbox-tools", EXEC.replace("exec", "stats"))
    assert (measured.status_code, measured.json["cpu_percent"], measured.json["disk_written_bytes"]) == (200, 1.5, 9)
    call("POST", "toolbox-tools", EXEC.replace("exec", "stop"))
    assert call("GET", "toolbox-tools", EXEC.replace("exec", "stats")).status_code == 409
    assert run(call).json["type"].endswith("not-allowed-now")
