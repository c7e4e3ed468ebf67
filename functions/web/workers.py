"""`converge` and `sweep`: called by Pub/Sub and by the scheduler, with their identity tokens."""

from __future__ import annotations

import base64
from typing import Any, Literal

from flask import Flask, Response, jsonify
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from functions.domain.errors import BadRequest
from functions.lifecycle import accounts, converge, outbox, rollouts, rotations, strays, sweep, toolbox_converge
from functions.lifecycle.outbox import Sender
from functions.lifecycle.ports import Ports, Task
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


def build_converge(ports: Ports, verify: Verify, email: str, sender: Sender | None) -> Flask:
    """`sender`: where webhooks go, None where nowhere is configured."""
    app = create("converge", ports.limits)

    @CONVERGE.on(app)
    def push() -> tuple[str, int]:
        service(verify, email)
        task = _task(body(Push))
        match task.kind:
            case "toolbox":
                toolbox_converge.run(ports, task.id)
            case "account":
                accounts.run(ports, task.id)
            case "rotation":
                rotations.run(ports, task.id)
            case "rollout":
                rollouts.run(ports, task.id)
            case "strays":
                strays.look(ports)
            case "outbox":
                if sender:
                    outbox.deliver(ports, sender, announcement)
            case _:
                converge.run(ports, task)
        return "", 204

    return app


def build_sweep(ports: Ports, verify: Verify, email: str) -> Flask:
    app = create("sweep", ports.limits)

    @SWEEP.on(app)
    def run() -> Response:
        service(verify, email)
        swept: Swept = {"published": sweep.sweep(ports)}
        return jsonify(swept)

    return app


def _task(envelope: Push) -> Task:
    try:
        data: dict[str, Any] = TaskData.model_validate_json(base64.b64decode(envelope.message.data)).model_dump()
    except (ValidationError, ValueError):
        raise BadRequest("the message holds no task") from None
    return Task(**data)
