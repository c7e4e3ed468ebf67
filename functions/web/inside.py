"""`toolbox-tools`, into a container: its logs, what it uses, and commands run in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from flask import Flask, Response, jsonify
from pydantic import BeforeValidator, Field, model_validator
from typing_extensions import TypedDict

from functions.domain.errors import AccountNotActive, NotAllowedNow, OutcomeUnknown, SecretsUnreadable
from functions.domain.instance.container import ContainerStats, ExecCommand, ExecResult, LogLine
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.instance import container
from functions.lifecycle.instance import exec as execution
from functions.lifecycle.instance.exec import ExecRequest
from functions.web import events
from functions.web.callers import Callers
from functions.web.fields import DIGITS, FIRST_GIVEN, WHOLE, Argument, ContainerPath, GivenSecrets, Text
from functions.web.idempotency import request_key
from functions.web.record_types import LogsRecord, Time, exact
from functions.web.requests import body, instance_key, query, toolbox_id
from functions.web.route import ASKS_SHIM, Empty, Media, Query, Route
from shim.contract import errors as shim_errors
from shim.contract.names import EXECUTION_SECONDS, MAX_LOG_LINES

# Six times as much may go to the shim, which takes a megabyte: JSON may write one byte with six.
MAX_INPUT_BYTES = 131_072


def _time(text: object) -> object:
    """A time without an offset is UTC's."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError("a time is like 2025-06-18T20:31:16Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()


class LogsQuery(Query):
    tail: Annotated[int, Field(ge=1, le=MAX_LOG_LINES), DIGITS] = 100
    since: Annotated[str, BeforeValidator(_time), Field(json_schema_extra={"format": "date-time"})] | None = None
    follow: Literal["0", "1", "false", "true"] = "0"


class Exec(Empty):
    """`timeout` in seconds. `environmentVariables` are for this command alone, and kept nowhere."""

    command: Annotated[list[Argument], Field(min_length=1, max_length=256), FIRST_GIVEN]
    environmentVariables: GivenSecrets | None = None
    stdin: Annotated[Text, Field(max_length=MAX_INPUT_BYTES)] = ""
    workingDirectory: ContainerPath | None = None
    timeout: Annotated[int, Field(ge=EXECUTION_SECONDS[0], le=EXECUTION_SECONDS[-1]), WHOLE] = 30

    @model_validator(mode="after")
    def _bounded(self) -> Exec:
        if not self.command[0]:
            raise ValueError("command.0 is empty")
        environment = self._environment()
        texts = [*self.command, self.stdin, *environment, *environment.values()]
        if sum(len(text.encode()) for text in texts) > MAX_INPUT_BYTES:
            raise ValueError(f"command, environment and stdin together are larger than {MAX_INPUT_BYTES} bytes")
        return self

    def _environment(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in (self.environmentVariables or {}).items()}

    def execute(self) -> ExecCommand:
        directory = self.workingDirectory or ""
        return ExecCommand(self.command, self._environment(), directory, self.stdin, self.timeout)


@exact
class ExecRecord(TypedDict):
    """`exit_code` is null where the time ran out: the process may go on. The container is as inspected afterwards."""

    exit_code: int | None
    timed_out: bool
    stdout: str
    stderr: str
    truncated: bool
    container_id: str
    container_name: str
    container_state: str


@exact
class StatsRecord(TypedDict):
    """100 percent is one whole core; bytes moved are since the container's start."""

    time: Time
    cpu_percent: float
    cpu_seconds: float
    memory_used_bytes: int
    memory_limit_bytes: int
    pids: int
    network_received_bytes: int
    network_sent_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int


ONE = "/<box>/tools/<key>"
LOGS = Route(
    "GET", f"{ONE}/logs", "What its container wrote; with follow=1 as server-sent events, line by line",
    {200: (LogsRecord, Media("text/event-stream", events.EventRecord))}, query=LogsQuery,
    problems=(*ASKS_SHIM, shim_errors.Busy, NotAllowedNow, SecretsUnreadable),
)  # fmt: skip
STATS = Route(
    "GET", f"{ONE}/stats", "What its container uses", {200: StatsRecord},
    problems=(*ASKS_SHIM, shim_errors.Busy, NotAllowedNow),
)  # fmt: skip
EXEC = Route(
    "POST", f"{ONE}/exec", "Run a command in its container, once", {200: ExecRecord}, Exec,
    problems=(
        *ASKS_SHIM, shim_errors.Busy, shim_errors.StartFailed, AccountNotActive, NotAllowedNow, OutcomeUnknown,
        SecretsUnreadable,
    ),
    replayed=True,
)  # fmt: skip
ROUTES = (LOGS, STATS, EXEC)


def add_to(app: Flask, deps: Dependencies, callers: Callers, fingerprint_key: bytes) -> None:
    @LOGS.on(app)
    def read_logs(box: str, key: str) -> Response:
        caller, asked = callers(), query(LogsQuery)
        toolbox, instance, tail, since = toolbox_id(box), instance_key(key), asked.tail, asked.since
        if asked.follow in ("1", "true"):
            followed = container.follow_logs(deps, caller, toolbox, instance, tail=tail, since=since)
            return events.stream(_lines(followed), deps.now, followed.close)
        read = container.read_logs(deps, caller, toolbox, instance, tail=tail, since=since)
        answer: LogsRecord = {
            "success": True,
            "logs": [log_line(line) for line in read.lines],
            "instanceId": key,
            "truncated": read.truncated,
            "timestamp": deps.now().isoformat(),
        }
        return jsonify(answer)

    @STATS.on(app)
    def read_stats(box: str, key: str) -> Response:
        return jsonify(stats_record(container.read_stats(deps, callers(), toolbox_id(box), instance_key(key))))

    @EXEC.on(app)
    def run(box: str, key: str) -> Response:
        caller, command = callers(), body(Exec).execute()
        request = request_key(caller.account, fingerprint_key)
        asked = ExecRequest(caller, toolbox_id(box), instance_key(key), command, request)
        return jsonify(exec_record(execution.run(deps, asked)))


def log_line(line: LogLine) -> str:
    return f"{line.time} {line.text}"


def _lines(followed: container.FollowedLog) -> Iterator[events.Event | None]:
    for line in followed:
        yield events.Event(log_line(line), id=line.time) if line else None


def exec_record(executed: ExecResult) -> ExecRecord:
    return {
        "exit_code": executed.exit_code,
        "timed_out": executed.exit_code is None,
        "stdout": executed.stdout,
        "stderr": executed.stderr,
        "truncated": executed.truncated,
        "container_id": executed.container.id,
        "container_name": executed.container.name,
        "container_state": executed.container.state,
    }


def stats_record(measured: ContainerStats) -> StatsRecord:
    return {
        "time": measured.time,
        "cpu_percent": measured.cpu_percent,
        "cpu_seconds": measured.cpu_seconds,
        "memory_used_bytes": measured.memory_used_bytes,
        "memory_limit_bytes": measured.memory_limit_bytes,
        "pids": measured.pids,
        "network_received_bytes": measured.network_received_bytes,
        "network_sent_bytes": measured.network_sent_bytes,
        "disk_read_bytes": measured.disk_read_bytes,
        "disk_written_bytes": measured.disk_written_bytes,
    }
