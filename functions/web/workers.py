"""`converge` and `sweep`: called by Pub/Sub and by the scheduler, with their identity tokens."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

from flask import Flask, Response, jsonify
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict

from functions.domain.errors import BadRequest
from functions.lifecycle import outbox
from functions.lifecycle.dependencies import Dependencies, Task
from functions.lifecycle.outbox import Sender
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile.tasks import Kind, run_task
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

    kind: Kind
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
        deliver = partial(outbox.deliver, deps, sender, announcement) if sender else None
        run_task(deps, _task(body(Push)), deliver)
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
