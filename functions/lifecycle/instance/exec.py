"""Run a command in an instance's container: once, even where the answer is lost and the request is repeated.

A command is the one request that is not idempotent. With an Idempotency-Key the record of the request is written before
the command is sent. A repeat that finds a record without an answer cannot know how far the first attempt came, and says
so rather than run the command again. The answer is stored encrypted, since it may show whatever the command could read;
the command's environment and input are not stored at all.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter

from functions.domain import lease
from functions.domain.account.caller import Caller
from functions.domain.errors import (
    Conflict,
    NotAllowedNow,
    OutcomeUnknown,
    ShimIncompatible,
    ToolboxUnavailable,
    Unavailable,
)
from functions.domain.instance import event
from functions.domain.instance.container import ExecCommand, ExecResult
from functions.domain.instance.model import Instance
from functions.domain.secrets import Sealed
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account.admission import require_active
from functions.lifecycle.dependencies import Delete, Dependencies, Write
from functions.lifecycle.idempotency import EarlierAttempt, RequestKey, find_earlier
from functions.lifecycle.instance.container import caller_errors
from functions.lifecycle.instance.read import find
from functions.lifecycle.repository import instance_event
from shim.contract import errors as shim_errors

log = logging.getLogger(__name__)

# Encryption makes it a third larger, and a document holds 1 MiB.
MAX_STORED_BYTES = 600_000
# Beside the command's own time: to reach the shim, to start, and to inspect afterwards.
MARGIN_SECONDS = 15
ANSWER = "answer"
# These prove that nothing was run, so the same request may be sent again.
NOT_STARTED = (
    NotAllowedNow, ToolboxUnavailable, ShimIncompatible, shim_errors.Refused, shim_errors.StartFailed,
    shim_errors.Transient,
)  # fmt: skip
_RESULT = TypeAdapter(ExecResult)


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command for an instance (`key` is its id or name), and the Idempotency-Key that came with it."""

    caller: Caller
    toolbox_id: str
    key: str
    command: ExecCommand
    idempotency: RequestKey | None = None


def run(deps: Dependencies, request: ExecRequest) -> ExecResult:
    """Run the command. Raises AccountNotActive, NotAllowedNow where the instance does not run, OutcomeUnknown."""
    toolbox, found = find(deps, request.caller, request.toolbox_id, request.key)
    instance, idempotency = found.value, request.idempotency
    earlier, expired = find_earlier(deps, idempotency)
    if idempotency and earlier:
        return _stored_result(deps, idempotency, earlier)
    require_active(toolbox)
    requested = event.exec_requested(instance, deps.new_id(), request.caller.subject, deps.now())
    writes: list[Write] = [instance_event(deps, instance, requested)]
    writes += [idempotency.asked(instance.id, deps.now(), expired)] if idempotency else []
    try:
        deps.store.commit(writes)
    except Conflict:
        raise OutcomeUnknown("another request with this Idempotency-Key is being carried out") from None
    try:
        result = _execute(deps, toolbox, instance, request.command)
    except NOT_STARTED:
        if idempotency:
            deps.store.commit([Delete(idempotency.ref)])
        raise
    if idempotency:
        _store_result(deps, idempotency, instance, result)
    return result


def _execute(deps: Dependencies, toolbox: Toolbox, instance: Instance, command: ExecCommand) -> ExecResult:
    start_by, timeout = deps.now() + lease.START_BY_MARGIN, float(command.timeout + MARGIN_SECONDS)
    with caller_errors(instance):
        shim = deps.shims.for_toolbox(toolbox)
        return shim.execute(instance.container_name, command, start_by=start_by, timeout=timeout)


def _stored_result(deps: Dependencies, idempotency: RequestKey, earlier: EarlierAttempt) -> ExecResult:
    if earlier.answer is None:
        raise OutcomeUnknown(
            "the first request with this Idempotency-Key may have run the command; it is not run again. "
            "Send another key to run it once more"
        )
    _, sealed = earlier.answer
    return _RESULT.validate_json(deps.vault.open(Sealed(**sealed), _associated_data(idempotency))[ANSWER])


def _store_result(deps: Dependencies, idempotency: RequestKey, instance: Instance, result: ExecResult) -> None:
    while len(content := _RESULT.dump_json(result)) > MAX_STORED_BYTES:
        stdout, stderr = result.stdout[: len(result.stdout) // 2], result.stderr[: len(result.stderr) // 2]
        result = replace(result, stdout=stdout, stderr=stderr, truncated=True)
    sealed = deps.vault.seal({ANSWER: content.decode()}, _associated_data(idempotency))
    try:
        deps.store.commit([idempotency.answer(instance.id, deps.now(), 200, asdict(sealed))])
    except Unavailable:
        # The caller gets the answer all the same; a repeat will be answered that the outcome is unknown.
        log.warning("the answer of a command could not be stored", extra={"instance": instance.id}, exc_info=True)


def _associated_data(idempotency: RequestKey) -> str:
    return f"request\n{idempotency.account}\n{idempotency.ref.id}"
