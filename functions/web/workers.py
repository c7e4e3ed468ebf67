"""`converge` and `sweep`: called by Pub/Sub and by the scheduler, with their identity tokens."""

from __future__ import annotations

import base64
from typing import Any, Literal

from flask import Flask, Response, jsonify
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from functions.domain.errors import BadRequest
from functions.lifecycle import outbox
from functions.lifecycle.account import status as account_status
from functions.lifecycle.dependencies import Dependencies, Task
from functions.lifecycle.instance import rotation
from functions.lifecycle.outbox import Sender
from functions.lifecycle.reconcile import instance as reconcile_instance
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile import toolbox as reconcile_toolbox
from functions.lifecycle.rollout import rollouts
from functions.lifecycle.toolbox import orphan_droplets
from functions.web.announcements import announcement
from functions.web.app import create
from functions.web.callers import Verify, service
from functions.web.record_types import exact
from functions.web.requests import body
from functions.web.route import Proof, Route


class Message(BaseModel):
    """Pub/Sub's push envelope has more in it, and may get more."""

    data: str


class Push(BaseModel):
    message: Message


class TaskData(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["instance", "toolbox", "account", "rotation", "rollout", "strays", "outbox"]
    id: str


@exact
class Swept(TypedDict):
    published: int


CONVERGE = Route("POST", "/", "Take up a task (Pub/Sub's push)", {204: None}, Push, proof=Proof.PLATFORM)
SWEEP = Route("POST", "/", "Publish whatever is due", {200: Swept}, proof=Proof.PLATFORM)


def build_converge(deps: Dependencies, verify: Verify, email: str, sender: Sender | None) -> Flask:
    """`sender`: where webhooks go, None where nowhere is configured."""
    app = create("converge", deps.limits)

    @CONVERGE.on(app)
    def push() -> tuple[str, int]:
        service(verify, email)
        task = _task(body(Push))
        match task.kind:
            case "toolbox":
                reconcile_toolbox.run(deps, task.id)
            case "account":
                account_status.apply(deps, task.id)
            case "rotation":
                rotation.apply(deps, task.id)
            case "rollout":
                rollouts.run(deps, task.id)
            case "strays":
                orphan_droplets.find_orphans(deps)
            case "outbox":
                if sender:
                    outbox.deliver(deps, sender, announcement)
            case _:
                reconcile_instance.run(deps, task)
        return "", 204

    return app


def build_sweep(deps: Dependencies, verify: Verify, email: str) -> Flask:
    app = create("sweep", deps.limits)

    @SWEEP.on(app)
    def run() -> Response:
        service(verify, email)
        swept: Swept = {"published": sweep.sweep(deps)}
        return jsonify(swept)

    return app


def _task(envelope: Push) -> Task:
    try:
        data: dict[str, Any] = TaskData.model_validate_json(base64.b64decode(envelope.message.data)).model_dump()
    except (ValidationError, ValueError):
        raise BadRequest("the message holds no task") from None
    return Task(**data)
