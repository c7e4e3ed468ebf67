"""`toolbox-tools`: the instances of one toolbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from flask import Flask, Response, jsonify
from pydantic import Field

from functions.domain import errors
from functions.domain.instance.model import Instance, InstanceStatus
from functions.lifecycle.dependencies import Dependencies, Document
from functions.lifecycle.instance import change, deploy
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Answer, InstanceRequest
from functions.web import bodies, inside, paging, toolbox_actions
from functions.web.app import create
from functions.web.callers import Callers
from functions.web.fields import DIGITS
from functions.web.idempotency import replay
from functions.web.record_types import EventRecord, InstanceRecord, PostMortemRecord
from functions.web.records import event_record, instance_record, post_mortem_record
from functions.web.requests import body, instance_key, query, toolbox_id
from functions.web.route import Empty, Query, Route
from shim.contract import errors as shim_errors

NAME = "toolbox-tools"


class WaitQuery(Query):
    """`timeout` in seconds."""

    status: InstanceStatus
    timeout: Annotated[int, Field(ge=0, le=60), DIGITS] = 30


Change = Callable[[Dependencies, InstanceRequest], Answer]
CHANGES: dict[str, Change] = {"start": change.start, "stop": change.stop, "restart": change.restart}

ONE = "/<box>/tools/<key>"
AS_ASKED = {200: InstanceRecord, 202: InstanceRecord}
CHANGED = (errors.NotAllowedNow, errors.SecretsUnreadable, shim_errors.OutcomeUnknown)
# What may stand in the way of a new spec.
NEW = (errors.AccountNotActive, errors.QuotaExceeded, errors.PortTaken, errors.NoRoom)

LIST = Route(
    "GET", "/<box>/tools", "A toolbox's instances", {200: list[InstanceRecord]}, query=paging.Page, headers=("Link",)
)
DEPLOY = Route(
    "POST", "/<box>/tools", "Deploy an instance", {201: InstanceRecord, 202: InstanceRecord}, bodies.Deploy,
    problems=(*CHANGED, *NEW, errors.NameTaken), replayed=True,
)  # fmt: skip
GET = Route("GET", ONE, "An instance", {200: InstanceRecord})
PATCH = Route(
    "PATCH", ONE, "Change an instance's spec", AS_ASKED, bodies.Patch,
    problems=(*CHANGED, *NEW), replayed=True,
)  # fmt: skip
DELETE = Route("DELETE", ONE, "Delete an instance", AS_ASKED, Empty, problems=CHANGED, replayed=True)
VERBS = {
    verb: Route(
        "POST",
        f"{ONE}/{verb}",
        f"Have it {verb}",
        AS_ASKED,
        Empty,
        problems=(*CHANGED, errors.AccountNotActive),
        replayed=True,
    )
    for verb in CHANGES
}  # fmt: skip
WAIT = Route(
    "GET", f"{ONE}/wait", "Wait until it has a status; 408 with the record as it stands",
    {200: InstanceRecord, 408: InstanceRecord}, query=WaitQuery,
)  # fmt: skip
EVENTS = Route("GET", f"{ONE}/events", "Its history", {200: list[EventRecord]}, query=paging.Page, headers=("Link",))
POST_MORTEMS = Route(
    "GET", f"{ONE}/post-mortems", "What its dead containers left", {200: list[PostMortemRecord]}, query=paging.Page,
    headers=("Link",),
)  # fmt: skip
ROUTES = (
    LIST,
    DEPLOY,
    GET,
    PATCH,
    DELETE,
    *VERBS.values(),
    WAIT,
    EVENTS,
    POST_MORTEMS,
    *inside.ROUTES,
    *toolbox_actions.ROUTES,
)


def build(deps: Dependencies, callers: Callers, fingerprint_key: bytes) -> Flask:
    app = create(NAME, deps.limits)

    @LIST.on(app)
    def list_instances(box: str) -> Response:
        caller = callers()
        limit, after = paging.asked(deps.limits)
        found = instances.page(deps, caller, toolbox_id(box), limit, after)
        last = (found[-1].created_at, found[-1].id) if len(found) == limit else None
        return paging.answer([instance_record(instance) for instance in found], limit, last)

    @DEPLOY.on(app)
    def post(box: str) -> tuple[Response, int]:
        caller = callers()
        again = replay(caller.account, fingerprint_key, lambda instance: (201, instance_record(instance)))
        return _answer(deploy.deploy(deps, caller, toolbox_id(box), body(bodies.Deploy).wanted(), again), 201)

    @GET.on(app)
    def get(box: str, key: str) -> Response:
        caller = callers()
        return jsonify(instance_record(instances.get(deps, caller, toolbox_id(box), instance_key(key))))

    @PATCH.on(app)
    def patch(box: str, key: str) -> tuple[Response, int]:
        return changed(lambda _, asked: change.update(deps, asked, body(bodies.Patch).changes()), box, key)

    @DELETE.on(app)
    def delete(box: str, key: str) -> tuple[Response, int]:
        body(Empty)
        return changed(change.delete, box, key)

    def verb(make: Change, box: str, key: str) -> tuple[Response, int]:
        body(Empty)
        return changed(make, box, key)

    for name, route in VERBS.items():
        route.on(app)(partial(verb, CHANGES[name]))

    def changed(make: Change, box: str, key: str) -> tuple[Response, int]:
        caller = callers()
        again = replay(caller.account, fingerprint_key, lambda instance: (200, instance_record(instance)))
        return _answer(make(deps, InstanceRequest(caller, toolbox_id(box), instance_key(key), again)), 200)

    @WAIT.on(app)
    def wait(box: str, key: str) -> tuple[Response, int]:
        caller = callers()
        asked = query(WaitQuery)
        until = deps.now() + timedelta(seconds=asked.timeout)
        instance, reached = instances.wait(
            deps, caller, toolbox_id(box), instance_key(key), lambda instance: instance.status is asked.status, until
        )
        return jsonify(instance_record(instance)), 200 if reached else 408

    @EVENTS.on(app)
    def events(box: str, key: str) -> Response:
        return history("events", event_record, box, key)

    @POST_MORTEMS.on(app)
    def post_mortems(box: str, key: str) -> Response:
        return history("post_mortems", post_mortem_record, box, key)

    def history(kind: str, render: Callable[[Document], Mapping[str, Any]], box: str, key: str) -> Response:
        caller = callers()
        limit, after = paging.asked(deps.limits)
        found = instances.history(deps, caller, toolbox_id(box), instance_key(key), kind, limit, after)
        last = (found[-1]["time"], found[-1]["id"]) if len(found) == limit else None
        return paging.answer([render(document) for document in found], limit, last)

    inside.add_to(app, deps, callers, fingerprint_key)
    toolbox_actions.add_to(app, deps, callers, fingerprint_key)
    return app


def _answer(answer: Answer, final: int) -> tuple[Response, int]:
    """A record, 202 while it is not yet as asked; or what the same request was answered with before."""
    if isinstance(answer, Instance):
        return jsonify(instance_record(answer)), final if answer.settled else 202
    status, stored = answer
    return jsonify(stored), status
