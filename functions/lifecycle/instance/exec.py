"""A command run in an instance's container: once, also where its answer was lost.

Under an Idempotency-Key the record of the request is made before the command is sent. A repeat that finds one without
an answer cannot know how far the first attempt came, and says so. The answer is kept sealed, since it may show whatever
the command could read; the command's environment and input are kept nowhere.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace

from pydantic import TypeAdapter

from functions.domain import event, lease
from functions.domain.account.caller import Caller
from functions.domain.errors import (
    Conflict,
    NotAllowedNow,
    OutcomeUnknown,
    ShimIncompatible,
    ToolboxUnavailable,
    Unavailable,
)
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

# What a document has room for, sealed.
MAX_KEPT_BYTES = 600_000
# Beside the command's own time: to reach the shim, to begin, and to inspect afterwards.
MARGIN_SECONDS = 15
ANSWER = "answer"
_RESULT = TypeAdapter(ExecResult)
# After these nothing was run, and the same request may be sent again.
NOT_BEGUN = (
    NotAllowedNow, ToolboxUnavailable, ShimIncompatible, shim_errors.Refused, shim_errors.StartFailed,
    shim_errors.Transient,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """Who has `command` run in which instance (id or name), and under which Idempotency-Key."""

    caller: Caller
    toolbox_id: str
    key: str
    command: ExecCommand
    request: RequestKey | None = None


def run(deps: Dependencies, asked: ExecRequest) -> ExecResult:
    """Raises AccountNotActive, NotAllowedNow where it does not run, OutcomeUnknown where it may have run already."""
    toolbox, found = find(deps, asked.caller, asked.toolbox_id, asked.key)
    instance, request = found.value, asked.request
    known, expired = find_earlier(deps, request)
    if request and known:
        return _repeated(deps, request, known)
    require_active(toolbox)
    told = event.executed(instance, deps.new_id(), asked.caller.subject, deps.now())
    writes: list[Write] = [instance_event(deps, instance, told)]
    writes += [request.asked(instance.id, deps.now(), expired)] if request else []
    try:
        deps.store.commit(writes)
    except Conflict:
        raise OutcomeUnknown("another request under this Idempotency-Key is under way") from None
    try:
        executed = _sent(deps, toolbox, instance, asked.command)
    except NOT_BEGUN:
        if request:
            deps.store.commit([Delete(request.ref)])
        raise
    if request:
        _keep(deps, request, instance, executed)
    return executed


def _sent(deps: Dependencies, toolbox: Toolbox, instance: Instance, command: ExecCommand) -> ExecResult:
    start_by, timeout = deps.now() + lease.START_BY_MARGIN, float(command.timeout + MARGIN_SECONDS)
    with caller_errors(instance):
        shim = deps.shims.of(toolbox)
        return shim.execute(instance.container_name, command, start_by=start_by, timeout=timeout)


def _repeated(deps: Dependencies, request: RequestKey, known: EarlierAttempt) -> ExecResult:
    if known.answer is None:
        raise OutcomeUnknown(
            "the first request under this Idempotency-Key may have run the command; it is not run again"
        )
    _, sealed = known.answer
    return _RESULT.validate_json(deps.vault.open(Sealed(**sealed), _associated_data(request))[ANSWER])


def _keep(deps: Dependencies, request: RequestKey, instance: Instance, executed: ExecResult) -> None:
    kept = executed
    while len(content := _RESULT.dump_json(kept)) > MAX_KEPT_BYTES:
        out, err = kept.stdout[: len(kept.stdout) // 2], kept.stderr[: len(kept.stderr) // 2]
        kept = replace(kept, stdout=out, stderr=err, truncated=True)
    sealed = deps.vault.seal({ANSWER: content.decode()}, _associated_data(request))
    try:
        deps.store.commit([request.answer(instance.id, deps.now(), 200, asdict(sealed))])
    except Unavailable:
        # The caller has the answer all the same; a repeat will be told that the outcome is unknown.
        log.warning("an answer was not kept", extra={"instance": instance.id}, exc_info=True)


def _associated_data(request: RequestKey) -> str:
    return f"request\n{request.account}\n{request.ref.id}"
