"""Run a command in an instance's container: once, even where the answer is lost and the request is repeated.

A command is the one request that is not idempotent. Its idempotency key is recorded before the command is sent. A
repeat that finds the key without an answer cannot know how far the first attempt came, and is answered so rather than
run the command again. The web stores the answer encrypted, since it may show whatever the command could read; the
command's environment and input are not stored at all.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from functions.domain import lease
from functions.domain.account.caller import Caller
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
from functions.domain.instance.container import ExecCommand, ExecResult
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account.admission import require_active
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import CONTENDED, WITHOUT_KEY, CommitHook, record_outcome
from functions.lifecycle.instance.container import caller_errors
from functions.lifecycle.instance.read import find
from functions.lifecycle.repository import instance_event
from shim.contract import errors as shim_errors

log = logging.getLogger(__name__)

# Encryption makes it a third larger, and a document holds 1 MiB.
MAX_STORED_BYTES = 600_000
# Beside the command's own time: to reach the shim, to start, and to inspect afterwards.
MARGIN_SECONDS = 15
# These prove that nothing was run, so the same request may be sent again.
NOT_STARTED = (
    NotAllowedNow, ToolboxUnavailable, ShimIncompatible, shim_errors.Refused, shim_errors.StartFailed,
    shim_errors.Transient,
)  # fmt: skip
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
