"""The functions `converge` and `sweep`, which Pub/Sub and the scheduler call with identity tokens."""

from __future__ import annotations

import base64
import logging
from functools import partial
from typing import Any

from flask import Flask, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from functions.domain.errors import BadRequest, Unavailable
from functions.lifecycle import outbox
from functions.lifecycle.dependencies import Dependencies, Task
from functions.lifecycle.outbox import Sender
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile.tasks import Kind, run_task
from functions.web.app import create
from functions.web.records import Record, answer
from functions.web.requests import Verify, body, require_service
from functions.web.route import Proof, Route
from functions.web.webhooks import outbound_message

log = logging.getLogger(__name__)


class PushedMessage(BaseModel):
    data: str = Field(description="The task as JSON in base64.")


class Push(BaseModel):
    """Pub/Sub's push request. It has more keys, and may get new ones."""

    message: PushedMessage = Field(description="The message that was published.")


class TaskData(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Kind
    id: str = ""
    ids: tuple[str, ...] = ()


class Swept(Record):
    published: int = Field(description="Number of tasks that were published.")


CONVERGE = Route(
    operation="runTask",
    method="POST",
    path="/",
    summary="Run a task",
    description="Called by Pub/Sub. A task is an id to reconcile, or several; running it twice has no further effect.",
    answers={204: None},
    body=Push,
    proof=Proof.PLATFORM,
)
SWEEP = Route(
    operation="sweep",
    method="POST",
    path="/",
    summary="Publish every task that is due",
    description="Called by the scheduler each minute.",
    answers={200: Swept},
    proof=Proof.PLATFORM,
)


def build_converge(deps: Dependencies, verify: Verify, email: str, sender: Sender | None) -> Flask:
    """`email`: the service account that may call. `sender` sends webhooks, None where no target is configured."""
    app = create("converge", deps.limits)

    @CONVERGE.on(app)
    def push() -> tuple[str, int]:
        require_service(verify, email)
        deliver = partial(outbox.deliver, deps, sender, outbound_message) if sender else None
        task = _task(body(Push))
        try:
            run_task(deps, task, deliver)
        except Unavailable:
            raise
        except Exception:
            # Acknowledged: the queue would repeat it at once and for ever. What is due is published by each sweep.
            log.exception("a task failed unexpectedly", extra={"kind": task.kind, task.kind: task.id})
        return "", 204

    return app


def build_sweep(deps: Dependencies, verify: Verify, email: str) -> Flask:
    """`email`: the service account that may call."""
    app = create("sweep", deps.limits)

    @SWEEP.on(app)
    def run() -> Response:
        require_service(verify, email)
        return answer(Swept(published=sweep.sweep(deps)))

    return app


def _task(envelope: Push) -> Task:
    try:
        data: dict[str, Any] = TaskData.model_validate_json(base64.b64decode(envelope.message.data)).model_dump()
    except (ValidationError, ValueError):
        raise BadRequest(
            "The message's data is not a task: base64 of a JSON object with `kind` and `id` or `ids`."
        ) from None
    return Task(**data)
