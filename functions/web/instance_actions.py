"""`POST /toolbox-tools`: the existing frontend's calls, which name toolbox, instance and action in their body.

`success` is true where the outcome was proven. A failed outcome is a problem; one that is under way is a 202.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from flask import Flask, Response
from pydantic import ConfigDict, Field, model_validator

from functions.domain import errors
from functions.domain.account.model import Caller
from functions.domain.errors import InstanceFailed
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import ToolboxStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import StoredAnswer
from functions.lifecycle.instance import change, container
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import InstanceRequest
from functions.lifecycle.toolbox import read as toolboxes
from functions.web.containers import log_line
from functions.web.fields import InstanceKey, ToolboxId
from functions.web.idempotency import Idempotent
from functions.web.pages import DEFAULT_LIMIT
from functions.web.problems import problem_of
from functions.web.records import CamelRecord, InstanceRecord, Record, Time, as_json
from functions.web.requests import Callers, body, instance_key, toolbox_id
from functions.web.route import SHIM_COMMAND, Body, Route

Change = Callable[[Dependencies, InstanceRequest], Instance]
# By action: the change, and what is said of the instance once it is done.
CHANGES: dict[str, tuple[Change, str]] = {
    "start": (change.start, "runs"),
    "stop": (change.stop, "is stopped"),
    "restart": (change.restart, "was restarted"),
    "delete": (change.delete, "is deleted"),
}
LOG_LINES = 100

_WITHOUT_ACTION: dict[str, Any] = {"properties": {"action": {"type": "null"}}}
_WITH_INSTANCE: dict[str, Any] = {"required": ["instanceId"], "properties": {"instanceId": {"type": "string"}}}


class Action(Body):
    model_config = ConfigDict(json_schema_extra={"anyOf": [_WITHOUT_ACTION, _WITH_INSTANCE]})

    toolbox_id: ToolboxId = Field(description="The toolbox's id.")
    action: Literal["start", "stop", "restart", "logs", "delete"] | None = Field(
        default=None, description="What to do. Left out or null: describe the toolbox and its instances."
    )
    instance_id: InstanceKey | None = Field(default=None, description="The instance's id or name, for an action.")

    @model_validator(mode="after")
    def _instance(self) -> Action:
        if self.action and self.instance_id is None:
            raise ValueError(f"instanceId is required by the action {self.action!r}")
        return self


class ActionRecord(CamelRecord):
    success: bool = Field(description="Whether it is done and was seen to be done.")
    message: str = Field(description="The outcome in a sentence.")
    instance_id: str = Field(description="The instance as the request named it.")
    action: str = Field(description="The action.")
    timestamp: Time = Field(description="When it was answered.")


class ActionLogs(CamelRecord):
    success: bool = Field(description="Always true: what could not be read is a problem document.")
    logs: list[str] = Field(description=f"The last {LOG_LINES} lines, oldest first, each with its time in front.")
    instance_id: str = Field(description="The instance as the request named it.")
    timestamp: Time = Field(description="When the log was read.")


class Overview(Record):
    success: bool = Field(description="Always true.")
    tool_instances: list[InstanceRecord] = Field(description="The toolbox's newest instances.")
    dtma_connected: bool = Field(description="Whether the toolbox's shim has answered now.")
    last_checked: Time = Field(description="When the shim was called.")


ACT = Route(
    operation="actOnInstance",
    method="POST",
    path="/",
    summary="Act on an instance, or describe all of them",
    description=(
        "Start, stop, restart or delete an instance or read its log; without an action list the instances and check "
        "the toolbox. 202 with `success: false` while it is under way. Logs and the overview are read again under an "
        "Idempotency-Key."
    ),
    answers={200: (ActionRecord, ActionLogs, Overview), 202: ActionRecord},
    body=Action,
    problems=(*SHIM_COMMAND, errors.NotFound, errors.NotAllowedNow, errors.SecretsUnreadable, InstanceFailed),
    idempotent=True,
)
ROUTES = (ACT,)


def add_to(app: Flask, deps: Dependencies, callers: Callers, idempotent: Idempotent) -> None:
    """Add these routes to the function's app."""

    @ACT.on(app)
    def act() -> Response:
        caller, requested = callers(), body(Action)
        box, action, key = toolbox_id(requested.toolbox_id), requested.action, requested.instance_id
        if action is None or key is None:
            return read(caller, box, lambda: _overview(deps, caller, box))
        if action == "logs":
            return read(caller, box, lambda: _logs(deps, caller, box, key))
        make, _ = CHANGES[action]
        return idempotent(
            caller,
            lambda commit: make(deps, InstanceRequest(caller, box, instance_key(key), commit)),
            lambda instance_id, _commit: change.resume(deps, instance_id),
            lambda instance: _outcome(instance, action, key, deps.now().isoformat()),
        )

    def read(caller: Caller, box: str, read: Callable[[], Record]) -> Response:
        return idempotent.read(
            caller, lambda: toolboxes.get(deps, caller, box).id, read, lambda record: StoredAnswer(200, as_json(record))
        )


def _outcome(instance: Instance, action: str, key: str, now: str) -> StoredAnswer:
    if instance.settled and instance.failure:
        problem = problem_of(
            InstanceFailed(f"{action.capitalize()} of {instance.name!r} failed: {instance.failure.message}")
        )
        return StoredAnswer(problem.status, as_json(problem))
    done, (_, state) = instance.settled, CHANGES[action]
    message = f"{instance.name} {state}" if done else f"{action} of {instance.name} is under way"
    record = ActionRecord(success=done, message=message, instance_id=key, action=action, timestamp=now)
    return StoredAnswer(200 if done else 202, as_json(record))


def _logs(deps: Dependencies, caller: Caller, toolbox: str, key: str) -> ActionLogs:
    read = container.read_logs(deps, caller, toolbox, instance_key(key), tail=LOG_LINES, since=None)
    lines = [log_line(line) for line in read.lines]
    return ActionLogs(success=True, logs=lines, instance_id=key, timestamp=deps.now().isoformat())


def _overview(deps: Dependencies, caller: Caller, box: str) -> Overview:
    toolbox = toolboxes.refresh(deps, caller, box)
    found = instances.page(deps, caller, box, min(DEFAULT_LIMIT, deps.limits.page), None)
    return Overview(
        success=True,
        tool_instances=[InstanceRecord.model_validate(instance) for instance in found.records],
        dtma_connected=toolbox.status is ToolboxStatus.ACTIVE,
        last_checked=deps.now().isoformat(),
    )
