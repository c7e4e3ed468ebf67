"""Use an instance's container as it is now: read its logs and what it uses, and run a command in it.

Logs are what Docker recorded, with secrets redacted, or a clear error; nothing is ever shown in their place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from functions.domain import lease
from functions.domain.account.model import Caller
from functions.domain.errors import (
    Conflict,
    Contended,
    NotAllowedNow,
    OutcomeUnknown,
    ShimIncompatible,
    ToolboxUnavailable,
    Unavailable,
)
from functions.domain.instance import event
from functions.domain.instance.container import ContainerStats, ExecCommand, ExecResult, LogLine, Logs
from functions.domain.instance.model import Instance
from functions.domain.secrets import Redactor
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account.admission import require_active
from functions.lifecycle.dependencies import Dependencies, Lines
from functions.lifecycle.idempotency import CONTENDED, WITHOUT_KEY, CommitHook, record_outcome
from functions.lifecycle.instance import secrets
from functions.lifecycle.instance.read import find
from functions.lifecycle.repository import instance_event
from shim.contract import errors as shim_errors


@contextmanager
def caller_errors(instance: Instance) -> Iterator[None]:
    """Turn the shim's errors about a container's state into NotAllowedNow, which names the instance."""
    try:
        yield
    except shim_errors.NoSuchContainer:
        raise NotAllowedNow(f"Instance {instance.name!r} has no container now. Start it first.") from None
    except shim_errors.NotRunning:
        raise NotAllowedNow(f"Instance {instance.name!r} is not running. Start it first.") from None


def read_logs(deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None) -> Logs:
    """Return the last `tail` lines, of those since the RFC 3339 time `since`.

    Raises NotAllowedNow where there is no container, SecretsUnreadable.
    """
    toolbox, found = find(deps, caller, toolbox_id, key)
    redact = Redactor(secrets.secret_values(deps.vault, found.value))
    start_by = lease.start_by_without_lease(deps.now())
    with caller_errors(found.value):
        shim = deps.shims.for_toolbox(toolbox)
        logs = shim.logs(found.value.container_name, tail=tail, since=since, start_by=start_by)
    return Logs([_redacted(line, redact) for line in logs.lines], logs.truncated)


def follow_logs(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None
) -> FollowedLog:
    """Return the same lines and then each new one until the container stops. Raises as `read_logs` does."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    redact = Redactor(secrets.secret_values(deps.vault, found.value))
    start_by = lease.start_by_without_lease(deps.now())
    with caller_errors(found.value):
        shim = deps.shims.for_toolbox(toolbox)
        lines = shim.follow_logs(found.value.container_name, tail=tail, since=since, start_by=start_by)
    return FollowedLog(lines, redact)


class FollowedLog:
    """Log lines as they arrive; None is a sign of life every 10 s. Close it even if it was not read."""

    def __init__(self, lines: Lines[LogLine | None], redact: Redactor) -> None:
        self._lines, self._redact = lines, redact

    def __iter__(self) -> Iterator[LogLine | None]:
        for line in self._lines:
            yield _redacted(line, self._redact) if line else None

    def close(self) -> None:
        """Close the connection to the shim."""
        self._lines.close()


def read_stats(deps: Dependencies, caller: Caller, toolbox_id: str, key: str) -> ContainerStats:
    """Measure what the container uses, which takes two seconds. Raises NotAllowedNow where it does not run."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    start_by = lease.start_by_without_lease(deps.now())
    with caller_errors(found.value):
        return deps.shims.for_toolbox(toolbox).stats(found.value.container_name, start_by=start_by)


def _redacted(line: LogLine, redact: Redactor) -> LogLine:
    return replace(line, text=redact(line.text))


# Run a command in an instance's container: once, even where the answer is lost and the request is repeated.

log = logging.getLogger(__name__)

# Encryption makes it a third larger, and a document holds 1 MiB.
MAX_STORED_BYTES = 600_000
# Beside the command's own time: to reach the shim, to start, and to inspect afterwards.
MARGIN_SECONDS = 15
# These prove that nothing was run, so the same request may be sent again.
NOT_STARTED = (
    NotAllowedNow,
    ToolboxUnavailable,
    ShimIncompatible,
    shim_errors.Refused,
    shim_errors.StartFailed,
    shim_errors.Transient,
)
_RESULT = TypeAdapter(ExecResult)


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command for an instance (`key` is its id or name); `commit` is the hook of the request's idempotency key."""

    caller: Caller
    toolbox_id: str
    key: str
    command: ExecCommand
    commit: CommitHook = WITHOUT_KEY


def run(deps: Dependencies, request: ExecRequest) -> ExecResult:
    """Run the command. Raises AccountNotActive, NotAllowedNow where the instance does not run, OutcomeUnknown."""
    toolbox, found = find(deps, request.caller, request.toolbox_id, request.key)
    instance, commit = found.value, request.commit
    require_active(toolbox)
    requested = event.exec_requested(instance, deps.new_id(), request.caller.subject, deps.now())
    try:
        deps.store.commit([instance_event(deps, instance, requested), *commit.intent(instance.id)])
    except Conflict:
        commit.refused()
        raise Contended(CONTENDED) from None
    try:
        result = _execute(deps, toolbox, instance, request.command)
    except NOT_STARTED:
        if writes := commit.withdrawn():
            deps.store.commit(writes)
        raise
    _store_result(deps, commit, instance, result)
    return result


def resume(instance_id: str) -> ExecResult:
    """A repeat of a request whose answer is not stored. Raises OutcomeUnknown."""
    raise OutcomeUnknown(
        f"The first request with this Idempotency-Key may have run the command in instance {instance_id}. It is not "
        "run again: check its effect, then send the request with a new key."
    )


def _execute(deps: Dependencies, toolbox: Toolbox, instance: Instance, command: ExecCommand) -> ExecResult:
    start_by, timeout = lease.start_by_without_lease(deps.now()), float(command.timeout + MARGIN_SECONDS)
    with caller_errors(instance):
        shim = deps.shims.for_toolbox(toolbox)
        return shim.execute(instance.container_name, command, start_by=start_by, timeout=timeout)


def _store_result(deps: Dependencies, commit: CommitHook, instance: Instance, result: ExecResult) -> None:
    while len(_RESULT.dump_json(result)) > MAX_STORED_BYTES:
        stdout, stderr = result.stdout[: len(result.stdout) // 2], result.stderr[: len(result.stderr) // 2]
        result = replace(result, stdout=stdout, stderr=stderr, truncated=True)
    try:
        record_outcome(deps, commit, instance.id, result)
    except Unavailable:
        # The caller gets the answer all the same; a repeat will be answered that the outcome is unknown.
        log.warning("the answer of a command could not be stored", extra={"instance": instance.id}, exc_info=True)
