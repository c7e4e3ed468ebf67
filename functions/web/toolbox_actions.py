"""`POST /toolbox-tools`: the existing frontend's calls that name toolbox, instance and action in their body.

`success` is true where it was proven. What was tried and given up is a problem; what is still on its way is a 202.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

from flask import Flask, Response, jsonify
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from functions.domain import errors
from functions.domain.account.caller import Caller
from functions.domain.errors import InstanceFailed
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import ToolboxStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import begin_once
from functions.lifecycle.instance import change, container
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Answer, InstanceRequest
from functions.lifecycle.toolbox import read as toolboxes
from functions.web import problems
from functions.web.callers import Callers
from functions.web.fields import InstanceKey, ToolboxId
from functions.web.idempotency import replay, request_key
from functions.web.inside import log_line
from functions.web.paging import DEFAULT_LIMIT
from functions.web.problems import ProblemDocument
from functions.web.record_types import InstanceRecord, Time, exact
from functions.web.records import instance_record
from functions.web.requests import body, instance_key, toolbox_id
from functions.web.route import ASKS_SHIM, Empty, Route

Change = Callable[[Dependencies, InstanceRequest], Answer]
CHANGES: dict[str, Change] = {
    "start": change.start, "stop": change.stop, "restart": change.restart, "delete": change.delete
}  # fmt: skip
DONE = {"start": "runs", "stop": "is stopped", "restart": "was restarted", "delete": "is deleted"}
LOG_LINES = 100


_NO_ACTION: dict[str, Any] = {"properties": {"action": {"type": "null"}}}
_INSTANCE: dict[str, Any] = {"required": ["instanceId"], "properties": {"instanceId": {"type": "string"}}}


class Action(Empty):
    """Without `action`: how the toolbox and its instances are."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_NO_ACTION, _INSTANCE]})

    toolboxId: ToolboxId
    action: Literal["start", "stop", "restart", "logs", "delete"] | None = None
    instanceId: Annotated[InstanceKey, Field(description="an instance's id or name")] | None = None

    @model_validator(mode="after")
    def _instance(self) -> Action:
        if self.action and self.instanceId is None:
            raise ValueError("instanceId is required")
        return self


@exact
class ActionRecord(TypedDict):
    success: bool
    message: str
    instanceId: str
    action: str
    timestamp: Time


@exact
class ActionLogs(TypedDict):
    success: bool
    logs: list[str]
    instanceId: str
    timestamp: Time


@exact
class Overview(TypedDict):
    """`dtma_connected`: the toolbox's shim has answered just now."""

    success: bool
    tool_instances: list[InstanceRecord]
    dtma_connected: bool
    last_checked: Time


ACT = Route(
    "POST", "/", "Start, stop, restart or delete an instance, read its logs, or see them all",
    {200: (ActionRecord, ActionLogs, Overview), 202: ActionRecord}, Action, replayed=True,
    problems=(*ASKS_SHIM, errors.NotFound, errors.NotAllowedNow, errors.SecretsUnreadable, InstanceFailed),
)  # fmt: skip
ROUTES = (ACT,)


def add_to(app: Flask, deps: Dependencies, callers: Callers, fingerprint_key: bytes) -> None:
    @ACT.on(app)
    def act() -> tuple[Response, int] | Response:
        caller, asked = callers(), body(Action)
        if asked.action in (None, "logs"):
            # Its key is bound, and no answer kept: to read anew does nothing, and what a container wrote is its own.
            request = request_key(caller.account, fingerprint_key)
            begin_once(deps, request, lambda: toolboxes.get(deps, caller, toolbox_id(asked.toolboxId)).id)
        if asked.action is None or asked.instanceId is None:
            return jsonify(_overview(deps, caller, toolbox_id(asked.toolboxId)))
        if asked.action == "logs":
            return jsonify(_logs(deps, caller, asked.toolboxId, asked.instanceId))
        action, key = asked.action, asked.instanceId

        def render(instance: Instance) -> tuple[int, Mapping[str, Any]]:
            return _outcome(instance, action, key, deps.now().isoformat())

        again = replay(caller.account, fingerprint_key, render)
        answer = CHANGES[action](deps, InstanceRequest(caller, toolbox_id(asked.toolboxId), instance_key(key), again))
        status, told = render(answer) if isinstance(answer, Instance) else answer
        return problems.answer(cast(ProblemDocument, told)) if status >= 400 else (jsonify(told), status)


def _outcome(instance: Instance, action: str, key: str, now: str) -> tuple[int, Mapping[str, Any]]:
    if instance.settled and instance.failure:
        failed = problems.document(InstanceFailed(f"{action} of {instance.name!r}: {instance.failure.message}"))
        return failed["status"], failed
    done = instance.settled
    message = f"{instance.name} {DONE[action]}" if done else f"{action} of {instance.name} is under way"
    record: ActionRecord = {
        "success": done, "message": message, "instanceId": key, "action": action, "timestamp": now,
    }  # fmt: skip
    return (200 if done else 202), record


def _logs(deps: Dependencies, caller: Caller, box: str, key: str) -> ActionLogs:
    read = container.read_logs(deps, caller, toolbox_id(box), instance_key(key), tail=LOG_LINES, since=None)
    return {
        "success": True,
        "logs": [log_line(line) for line in read.lines],
        "instanceId": key,
        "timestamp": deps.now().isoformat(),
    }


def _overview(deps: Dependencies, caller: Caller, box: str) -> Overview:
    toolbox = toolboxes.refresh(deps, caller, box)
    found = instances.page(deps, caller, box, min(DEFAULT_LIMIT, deps.limits.page), None)
    return {
        "success": True,
        "tool_instances": [instance_record(instance) for instance in found],
        "dtma_connected": toolbox.status is ToolboxStatus.ACTIVE,
        "last_checked": deps.now().isoformat(),
    }
