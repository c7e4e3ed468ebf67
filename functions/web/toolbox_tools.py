"""`toolbox-tools`: the instances of one toolbox."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask, Response, jsonify, request

from functions.domain.errors import BadRequest
from functions.domain.instance import Instance
from functions.domain.status import Status
from functions.lifecycle import change, deploy, instances, logs, update
from functions.lifecycle.change import Answer, Asked
from functions.lifecycle.ports import Ports
from functions.web import bodies, paging
from functions.web.app import create
from functions.web.callers import Callers
from functions.web.idempotency import replay
from functions.web.records import event_record, instance_record, post_mortem_record
from functions.web.requests import body, integer, toolbox_id
from shim.protocol import MAX_LOG_LINES

NAME = "toolbox-tools"
DEFAULT_LOG_LINES = 100
DEFAULT_WAIT_SECONDS, WAIT_SECONDS = 30, range(61)

Change = Callable[[Ports, Asked], Answer]
CHANGES: dict[str, Change] = {"start": change.start, "stop": change.stop, "restart": change.restart}


def build(ports: Ports, callers: Callers, fingerprint_key: bytes) -> Flask:
    app = create(NAME, ports.limits)

    @app.get("/<box>/tools")
    def list_instances(box: str) -> Response:
        caller = callers()
        limit, after = paging.asked(ports.limits)
        found = instances.page(ports, caller, toolbox_id(box), limit, after)
        last = (found[-1].created_at, found[-1].id) if len(found) == limit else None
        return paging.answer([instance_record(instance) for instance in found], limit, last)

    @app.post("/<box>/tools")
    def post(box: str) -> tuple[Response, int]:
        caller = callers()
        again = replay(caller.account, fingerprint_key, lambda instance: (201, instance_record(instance)))
        return _answer(deploy.deploy(ports, caller, toolbox_id(box), body(bodies.Deploy).wanted(), again), 201)

    @app.get("/<box>/tools/<key>")
    def get(box: str, key: str) -> Response:
        caller = callers()
        return jsonify(instance_record(instances.get(ports, caller, toolbox_id(box), _key(key))))

    @app.patch("/<box>/tools/<key>")
    def patch(box: str, key: str) -> tuple[Response, int]:
        return changed(lambda _, asked: update.update(ports, asked, body(bodies.Patch).changes()), box, key)

    @app.delete("/<box>/tools/<key>")
    def delete(box: str, key: str) -> tuple[Response, int]:
        body(bodies.Body)
        return changed(change.delete, box, key)

    @app.post("/<box>/tools/<key>/<any(start, stop, restart):verb>")
    def post_verb(box: str, key: str, verb: str) -> tuple[Response, int]:
        body(bodies.Body)
        return changed(CHANGES[verb], box, key)

    def changed(make: Change, box: str, key: str) -> tuple[Response, int]:
        caller = callers()
        again = replay(caller.account, fingerprint_key, lambda instance: (200, instance_record(instance)))
        return _answer(make(ports, Asked(caller, toolbox_id(box), _key(key), again)), 200)

    @app.get("/<box>/tools/<key>/wait")
    def wait(box: str, key: str) -> tuple[Response, int]:
        caller = callers()
        wanted, seconds = _status(), integer("timeout", DEFAULT_WAIT_SECONDS, WAIT_SECONDS)
        until = ports.now() + timedelta(seconds=seconds)
        instance, reached = instances.wait(
            ports, caller, toolbox_id(box), _key(key), lambda instance: instance.status is wanted, until
        )
        return jsonify(instance_record(instance)), 200 if reached else 408

    @app.get("/<box>/tools/<key>/events")
    def events(box: str, key: str) -> Response:
        return history("events", event_record, box, key)

    @app.get("/<box>/tools/<key>/post-mortems")
    def post_mortems(box: str, key: str) -> Response:
        return history("post_mortems", post_mortem_record, box, key)

    def history(kind: str, render: Callable[[dict[str, Any]], dict[str, Any]], box: str, key: str) -> Response:
        caller = callers()
        limit, after = paging.asked(ports.limits)
        found = instances.history(ports, caller, toolbox_id(box), _key(key), kind, limit, after)
        last = (found[-1]["time"], found[-1]["id"]) if len(found) == limit else None
        return paging.answer([render(document) for document in found], limit, last)

    @app.get("/<box>/tools/<key>/logs")
    def read_logs(box: str, key: str) -> Response:
        caller = callers()
        tail = integer("tail", DEFAULT_LOG_LINES, range(1, MAX_LOG_LINES + 1))
        read = logs.read(ports, caller, toolbox_id(box), _key(key), tail=tail, since=_since())
        lines = [f"{line.time} {line.text}" for line in read.lines]
        now = ports.now().isoformat()
        return jsonify(success=True, logs=lines, instanceId=key, truncated=read.truncated, timestamp=now)

    return app


def _answer(answer: Answer, final: int) -> tuple[Response, int]:
    """A record, 202 while it is not yet as asked; or what the same request was answered with before."""
    if isinstance(answer, Instance):
        return jsonify(instance_record(answer)), final if answer.settled else 202
    status, stored = answer
    return jsonify(stored), status


def _key(text: str) -> str:
    """An instance's id or name as it is stored; an id is the same in any case of its letters."""
    name = unicodedata.normalize("NFC", text)
    return name.lower() if len(name) == 36 and name.count("-") == 4 else name


def _status() -> Status:
    try:
        return Status(request.args.get("status", ""))
    except ValueError:
        raise BadRequest(f"status must be one of {', '.join(Status)}") from None


def _since() -> str | None:
    text = request.args.get("since")
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest("since must be a time like 2025-06-18T20:31:16Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
