"""`converge` and `sweep`: called by Pub/Sub and by the scheduler, with their identity tokens."""

from __future__ import annotations

import base64
from typing import Any, Literal

from flask import Flask, Response, jsonify
from pydantic import BaseModel, ConfigDict, ValidationError

from functions.domain.errors import BadRequest
from functions.lifecycle import converge, sweep, watch
from functions.lifecycle.ports import Ports, Task
from functions.web.app import create
from functions.web.callers import Verify, service
from functions.web.requests import body


class Message(BaseModel):
    """Pub/Sub's push envelope has more in it, and may get more."""

    data: str


class Push(BaseModel):
    message: Message


class TaskData(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["instance", "toolbox"]
    id: str


def build_converge(ports: Ports, verify: Verify, email: str) -> Flask:
    app = create("converge", ports.limits)

    @app.post("/")
    def push() -> tuple[str, int]:
        service(verify, email)
        task = _task(body(Push))
        if task.kind == "toolbox":
            watch.look(ports, task.id)
        else:
            converge.run(ports, task)
        return "", 204

    return app


def build_sweep(ports: Ports, verify: Verify, email: str) -> Flask:
    app = create("sweep", ports.limits)

    @app.post("/")
    def run() -> Response:
        service(verify, email)
        return jsonify(published=sweep.sweep(ports))

    return app


def _task(envelope: Push) -> Task:
    try:
        data: dict[str, Any] = TaskData.model_validate_json(base64.b64decode(envelope.message.data)).model_dump()
    except (ValidationError, ValueError):
        raise BadRequest("the message holds no task") from None
    return Task(**data)
