"""An instance's container: its logs, its use of resources, and exec. Part of `toolbox-tools`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from flask import Flask, Response
from pydantic import BeforeValidator, Field, model_validator

from functions.domain.errors import AccountNotActive, NotAllowedNow, OutcomeUnknown, SecretsUnreadable
from functions.domain.instance.container import ExecCommand, LogLine
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import StoredAnswer
from functions.lifecycle.instance import container
from functions.lifecycle.instance.container import ExecRequest
from functions.web.fields import DIGITS, PROGRAM_FIRST, WHOLE, Argument, ContainerPath, SecretValues, Text
from functions.web.idempotency import Idempotent
from functions.web.records import CamelRecord, Record, Time, answer, as_json, at
from functions.web.requests import Callers, body, instance_key, query, toolbox_id
from functions.web.route import SHIM_COMMAND, Body, Media, Query, Route
from functions.web.server_sent_events import LogEvent, ServerSentEvent, stream
from shim.contract import errors as shim_errors
from shim.contract.names import EXECUTION_SECONDS, MAX_LOG_LINES

# JSON can need six bytes for one, and a shim takes a megabyte.
MAX_INPUT_BYTES = 131_072


def _time(text: object) -> object:
    """A time without an offset is UTC."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        raise ValueError(f"{str(text)[:80]!r} is not a time like 2025-06-18T20:31:16Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()


class LogsQuery(Query):
    tail: Annotated[int, Field(ge=1, le=MAX_LOG_LINES), DIGITS] = Field(
        default=100, description="Number of last lines."
    )
    since: Annotated[str, BeforeValidator(_time), Field(json_schema_extra={"format": "date-time"})] | None = Field(
        default=None, description="Only lines that were written since this time; UTC where it has no offset."
    )
    follow: Literal["0", "1", "false", "true"] = Field(
        default="0", description="1: go on with new lines as server-sent events, for at most five minutes."
    )


class Exec(Body):
    """A command to run in the container."""

    command: Annotated[list[Argument], Field(min_length=1, max_length=256), PROGRAM_FIRST] = Field(
        description="Program and arguments, without a shell."
    )
    environment_variables: SecretValues | None = Field(
        default=None, description="Environment variables for this command alone. They are not stored."
    )
    stdin: Annotated[Text, Field(max_length=MAX_INPUT_BYTES)] = Field(default="", description="Standard input.")
    working_directory: ContainerPath | None = Field(default=None, description="Directory; the image's own if left out.")
    timeout: Annotated[int, Field(ge=EXECUTION_SECONDS[0], le=EXECUTION_SECONDS[-1]), WHOLE] = Field(
        default=30, description="Seconds to wait for its end."
    )

    @model_validator(mode="after")
    def _bounded(self) -> Exec:
        if not self.command[0]:
            raise ValueError("command.0 is empty; it names the program")
        environment = self._environment()
        texts = [*self.command, self.stdin, *environment, *environment.values()]
        if (size := sum(len(text.encode()) for text in texts)) > MAX_INPUT_BYTES:
            raise ValueError(
                f"command, environmentVariables and stdin together have {size} bytes; the limit is {MAX_INPUT_BYTES}"
            )
        return self

    def _environment(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in (self.environment_variables or {}).items()}

    def execute(self) -> ExecCommand:
        """The command in the domain's terms."""
        directory = self.working_directory or ""
        return ExecCommand(self.command, self._environment(), directory, self.stdin, self.timeout)


class LogsRecord(CamelRecord):
    success: bool = Field(description="Always true: what could not be read is a problem document.")
    logs: list[str] = Field(description="Lines, oldest first, each with its time in front.")
    instance_id: str = Field(description="The instance as the request named it.")
    truncated: bool = Field(description="Whether older lines of the requested range were left out.")
    timestamp: Time = Field(description="When the log was read.")


def _is_none(value: object) -> bool:
    return value is None


class ExecRecord(Record):
    """The result of a command, with the container as inspected afterwards."""

    exit_code: int | None = Field(description="Null where the time ran out: the process may still run.")
    timed_out: Annotated[bool, BeforeValidator(_is_none)] = at("exit_code", "Whether the time ran out.", ...)
    stdout: str = Field(description="Standard output, decoded as UTF-8.")
    stderr: str = Field(description="Standard error, decoded as UTF-8.")
    truncated: bool = Field(description="Whether output was cut.")
    container_id: str = at("container.id", "Docker's id of the container.", ...)
    container_name: str = at("container.name", "Docker's name of the container.", ...)
    container_state: str = at("container.state", "Docker's state of the container.", ...)


class StatsRecord(Record):
    """What a running container uses. Bytes moved are counted since the container's start."""

    time: Time = Field(description="When it was measured.")
    cpu_percent: float = Field(description="CPU in use; 100 is one whole core.")
    cpu_seconds: float = Field(description="CPU time since the start, in seconds.")
    memory_used_bytes: int = Field(description="Memory in use, without caches.")
    memory_limit_bytes: int = Field(description="The container's memory limit.")
    pids: int = Field(description="Processes and threads.")
    network_received_bytes: int = Field(description="Bytes received.")
    network_sent_bytes: int = Field(description="Bytes sent.")
    disk_read_bytes: int = Field(description="Bytes read from disk.")
    disk_written_bytes: int = Field(description="Bytes written to disk.")


INSTANCE_PATH = "/<toolbox>/tools/<instance>"
LOGS = Route(
    operation="readInstanceLogs",
    method="GET",
    path=f"{INSTANCE_PATH}/logs",
    summary="Read or follow an instance's log",
    description=(
        "The last lines of its container's log. With follow=1 each further line is a server-sent event, until the "
        "container stops or five minutes have passed; known secret values are redacted."
    ),
    answers={200: (LogsRecord, Media("text/event-stream", LogEvent))},
    query=LogsQuery,
    problems=(*SHIM_COMMAND, shim_errors.Busy, NotAllowedNow, SecretsUnreadable),
)
STATS = Route(
    operation="getInstanceStats",
    method="GET",
    path=f"{INSTANCE_PATH}/stats",
    summary="Get what an instance uses",
    description="Measured by the toolbox's shim now.",
    answers={200: StatsRecord},
    problems=(*SHIM_COMMAND, shim_errors.Busy, NotAllowedNow),
)
EXEC = Route(
    operation="runCommand",
    method="POST",
    path=f"{INSTANCE_PATH}/exec",
    summary="Run a command in an instance",
    description=(
        "Runs it in the instance's container and waits for its end. Under an Idempotency-Key the command runs at most "
        "once: a repeat has the same answer, and is `outcome-unknown` where that was lost."
    ),
    answers={200: ExecRecord},
    body=Exec,
    problems=(
        *SHIM_COMMAND,
        shim_errors.Busy,
        shim_errors.StartFailed,
        AccountNotActive,
        NotAllowedNow,
        OutcomeUnknown,
        SecretsUnreadable,
    ),
    idempotent=True,
)
ROUTES = (LOGS, STATS, EXEC)


def add_to(app: Flask, deps: Dependencies, callers: Callers, idempotent: Idempotent) -> None:
    """Add these routes to the function's app."""

    @LOGS.on(app)
    def read_logs(toolbox: str, instance: str) -> Response:
        caller, parameters = callers(), query(LogsQuery)
        toolbox, key, tail, since = toolbox_id(toolbox), instance_key(instance), parameters.tail, parameters.since
        if parameters.follow in ("1", "true"):
            followed = container.follow_logs(deps, caller, toolbox, key, tail=tail, since=since)
            return stream(_events(followed), deps.now, followed.close)
        read = container.read_logs(deps, caller, toolbox, key, tail=tail, since=since)
        return answer(
            LogsRecord(
                success=True,
                logs=[log_line(line) for line in read.lines],
                instance_id=instance,
                truncated=read.truncated,
                timestamp=deps.now().isoformat(),
            )
        )

    @STATS.on(app)
    def read_stats(toolbox: str, instance: str) -> Response:
        stats = container.read_stats(deps, callers(), toolbox_id(toolbox), instance_key(instance))
        return answer(StatsRecord.model_validate(stats))

    @EXEC.on(app)
    def run_command(toolbox: str, instance: str) -> Response:
        caller, command = callers(), body(Exec).execute()
        box, key = toolbox_id(toolbox), instance_key(instance)
        return idempotent(
            caller,
            lambda commit: container.run(deps, ExecRequest(caller, box, key, command, commit)),
            lambda instance_id, _commit: container.resume(instance_id),
            lambda result: StoredAnswer(200, as_json(ExecRecord.model_validate(result))),
            confidential=True,
        )


def log_line(line: LogLine) -> str:
    """A line of a log with its time in front."""
    return f"{line.time} {line.text}"


def _events(followed: container.FollowedLog) -> Iterator[ServerSentEvent | None]:
    for line in followed:
        yield ServerSentEvent(log_line(line), id=line.time) if line else None
