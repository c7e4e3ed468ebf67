"""`toolbox-tools`: the instances of one toolbox."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask, Response, jsonify, request

from functions.domain.errors import BadRequest
from functions.domain.instance import Instance
from functions.lifecycle import deploy, instances, logs
from functions.lifecycle.ports import Ports
from functions.web import bodies, paging
from functions.web.app import create
from functions.web.callers import Verify, account
from functions.web.records import instance_record
from functions.web.requests import body, integer, toolbox_id
from shim.protocol import MAX_LOG_LINES

NAME = "toolbox-tools"
DEFAULT_LOG_LINES = 100

Change = Callable[[Ports, str, str, str], Instance]
CHANGES: dict[str, Change] = {"start": instances.start, "stop": instances.stop, "restart": instances.restart}


def build(ports: Ports, verify: Verify) -> Flask:
    app = create(NAME)

    @app.get("/<box>/tools")
    def list_instances(box: str) -> Response:
        caller = account(verify)
        limit, after = paging.asked()
        found = instances.page(ports, caller, toolbox_id(box), limit, after)
        return paging.answer(found, [instance_record(instance) for instance in found], limit)

    @app.post("/<box>/tools")
    def post(box: str) -> tuple[Response, int]:
        caller = account(verify)
        instance = deploy.deploy(ports, caller, toolbox_id(box), body(bodies.Deploy).wanted())
        return jsonify(instance_record(instance)), 201 if instance.settled else 202

    @app.get("/<box>/tools/<key>")
    def get(box: str, key: str) -> Response:
        caller = account(verify)
        return jsonify(instance_record(instances.get(ports, caller, toolbox_id(box), _key(key))))

    @app.delete("/<box>/tools/<key>")
    def delete(box: str, key: str) -> tuple[Response, int]:
        return changed(instances.delete, box, key)

    @app.post("/<box>/tools/<key>/<any(start, stop, restart):verb>")
    def change(box: str, key: str, verb: str) -> tuple[Response, int]:
        return changed(CHANGES[verb], box, key)

    def changed(change: Change, box: str, key: str) -> tuple[Response, int]:
        caller = account(verify)
        body(bodies.Body)
        instance = change(ports, caller, toolbox_id(box), _key(key))
        return jsonify(instance_record(instance)), 200 if instance.settled else 202

    @app.get("/<box>/tools/<key>/logs")
    def read_logs(box: str, key: str) -> Response:
        caller = account(verify)
        tail = integer("tail", DEFAULT_LOG_LINES, range(1, MAX_LOG_LINES + 1))
        read = logs.read(ports, caller, toolbox_id(box), _key(key), tail=tail, since=_since())
        lines = [f"{line.time} {line.text}" for line in read.lines]
        now = ports.now().isoformat()
        return jsonify(success=True, logs=lines, instanceId=key, truncated=read.truncated, timestamp=now)

    return app


def _key(text: str) -> str:
    """An instance's id or name as it is stored; an id is the same in any case of its letters."""
    name = unicodedata.normalize("NFC", text)
    return name.lower() if len(name) == 36 and name.count("-") == 4 else name


def _since() -> str | None:
    text = request.args.get("since")
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest("since must be a time like 2025-06-18T20:31:16Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).isoformat()
