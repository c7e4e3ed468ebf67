"""The function `toolbox-tools`: the instances of one toolbox."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated

from flask import Flask, Response
from pydantic import Field

from functions.domain import errors
from functions.domain.instance.model import Instance, InstanceStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import CommitHook, StoredAnswer
from functions.lifecycle.instance import change, deploy
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import InstanceRequest
from functions.web import containers, instance_actions
from functions.web.app import create
from functions.web.fields import DIGITS
from functions.web.idempotency import Idempotent
from functions.web.instance_bodies import Deploy, Patch
from functions.web.pages import Page, Pages
from functions.web.records import EventRecord, InstanceRecord, PostMortemRecord, answer, as_json
from functions.web.requests import Callers, body, instance_key, query, toolbox_id
from functions.web.route import NoFields, Query, Route
from shim.contract import errors as shim_errors

NAME = "toolbox-tools"


class WaitQuery(Query):
    status: InstanceStatus = Field(description="The status to wait for.")
    timeout: Annotated[int, Field(ge=0, le=60), DIGITS] = Field(default=30, description="Seconds to wait at most.")


Change = Callable[[Dependencies, InstanceRequest], Instance]

INSTANCES_PATH, INSTANCE_PATH = "/<toolbox>/tools", "/<toolbox>/tools/<instance>"
CHANGED = {200: InstanceRecord, 202: InstanceRecord}
CHANGE_PROBLEMS = (errors.NotAllowedNow, errors.SecretsUnreadable, shim_errors.OutcomeUnknown)
# What can stand in the way of a new spec.
SPEC_PROBLEMS = (errors.AccountNotActive, errors.QuotaExceeded, errors.PortTaken, errors.NoRoom)
UNDER_WAY = "200 with the record once it is done; 202 while it is under way: then wait, or read the record again."

LIST = Route(
    operation="listInstances",
    method="GET",
    path=INSTANCES_PATH,
    summary="List a toolbox's instances",
    description="Newest first. The next page is in the Link header.",
    answers={200: list[InstanceRecord]},
    query=Page,
    headers=("Link",),
)
DEPLOY = Route(
    operation="deployInstance",
    method="POST",
    path=INSTANCES_PATH,
    summary="Deploy an instance",
    description=(
        "Reserves its name and host ports, pulls the image, creates the container and starts it. 201 once the record "
        "is as requested; 202 while the image is pulled or the container starts: then wait, or read the record again."
    ),
    answers={201: InstanceRecord, 202: InstanceRecord},
    body=Deploy,
    problems=(*CHANGE_PROBLEMS, *SPEC_PROBLEMS, errors.NameTaken),
    idempotent=True,
)
GET = Route(
    operation="getInstance",
    method="GET",
    path=INSTANCE_PATH,
    summary="Get an instance",
    description="As it was last observed; `observed_at` says when.",
    answers={200: InstanceRecord},
)
PATCH = Route(
    operation="updateInstance",
    method="PATCH",
    path=INSTANCE_PATH,
    summary="Update an instance's configuration",
    description=f"Replaces the container; rolls back where the new version does not serve. {UNDER_WAY}",
    answers=CHANGED,
    body=Patch,
    problems=(*CHANGE_PROBLEMS, *SPEC_PROBLEMS),
    idempotent=True,
)
DELETE = Route(
    operation="deleteInstance",
    method="DELETE",
    path=INSTANCE_PATH,
    summary="Delete an instance",
    description=f"Records a post-mortem and removes the container. Volumes stay. {UNDER_WAY}",
    answers=CHANGED,
    body=NoFields,
    problems=CHANGE_PROBLEMS,
    idempotent=True,
)


def _verb(verb: str, description: str) -> Route:
    return Route(
        operation=f"{verb}Instance",
        method="POST",
        path=f"{INSTANCE_PATH}/{verb}",
        summary=f"{verb.capitalize()} an instance",
        description=f"{description} {UNDER_WAY}",
        answers=CHANGED,
        body=NoFields,
        problems=(*CHANGE_PROBLEMS, errors.AccountNotActive),
        idempotent=True,
    )


VERBS: tuple[tuple[Route, Change], ...] = (
    (_verb("start", "Does nothing where it runs already."), change.start),
    (_verb("stop", "Sends SIGTERM, and SIGKILL after ten seconds. It stays stopped until started."), change.stop),
    (_verb("restart", "Starts it where it is stopped."), change.restart),
)
WAIT = Route(
    operation="waitForInstance",
    method="GET",
    path=f"{INSTANCE_PATH}/wait",
    summary="Wait until an instance has a status",
    description="408 with the record as it stands where the status is not reached in time.",
    answers={200: InstanceRecord, 408: InstanceRecord},
    query=WaitQuery,
)
EVENTS = Route(
    operation="listInstanceEvents",
    method="GET",
    path=f"{INSTANCE_PATH}/events",
    summary="List an instance's events",
    description="Newest first; also those of a deleted instance, by its id. The next page is in the Link header.",
    answers={200: list[EventRecord]},
    query=Page,
    headers=("Link",),
)
POST_MORTEMS = Route(
    operation="listInstancePostMortems",
    method="GET",
    path=f"{INSTANCE_PATH}/post-mortems",
    summary="List an instance's post-mortems",
    description="Newest first; also those of a deleted instance, by its id. The next page is in the Link header.",
    answers={200: list[PostMortemRecord]},
    query=Page,
    headers=("Link",),
)
ROUTES = (
    LIST,
    DEPLOY,
    GET,
    PATCH,
    DELETE,
    *(route for route, _ in VERBS),
    WAIT,
    EVENTS,
    POST_MORTEMS,
    *containers.ROUTES,
    *instance_actions.ROUTES,
)


def build(deps: Dependencies, callers: Callers, fingerprint_key: bytes) -> Flask:
    """Build the function's app."""
    app, idempotent = create(NAME, deps.limits), Idempotent(deps, fingerprint_key)
    pages = Pages(deps.limits, fingerprint_key)

    @LIST.on(app)
    def list_instances(toolbox: str) -> Response:
        caller = callers()
        limit, after = pages.requested()
        found = instances.page(deps, caller, toolbox_id(toolbox), limit, after)
        return pages.answer(InstanceRecord, found, limit, lambda last: (last.created_at, last.id))

    @DEPLOY.on(app)
    def deploy_instance(toolbox: str) -> Response:
        caller, box, new = callers(), toolbox_id(toolbox), body(Deploy).new_instance()
        return idempotent(
            caller,
            lambda commit: deploy.deploy(deps, caller, box, new, commit),
            resumed,
            lambda deployed: _answer(deployed, 201),
        )

    @GET.on(app)
    def get_instance(toolbox: str, instance: str) -> Response:
        caller = callers()
        return answer(_record(instances.get(deps, caller, toolbox_id(toolbox), instance_key(instance))))

    @PATCH.on(app)
    def update_instance(toolbox: str, instance: str) -> Response:
        return changed(lambda _, request: change.update(deps, request, body(Patch).changes()), toolbox, instance)

    @DELETE.on(app)
    def delete_instance(toolbox: str, instance: str) -> Response:
        body(NoFields)
        return changed(change.delete, toolbox, instance)

    def change_state(make: Change, toolbox: str, instance: str) -> Response:
        body(NoFields)
        return changed(make, toolbox, instance)

    for route, make in VERBS:
        route.on(app)(partial(change_state, make))

    def changed(make: Change, toolbox: str, instance: str) -> Response:
        caller, box, key = callers(), toolbox_id(toolbox), instance_key(instance)
        return idempotent(
            caller,
            lambda commit: make(deps, InstanceRequest(caller, box, key, commit)),
            resumed,
            lambda deployed: _answer(deployed, 200),
        )

    def resumed(instance_id: str, _commit: CommitHook) -> Instance:
        return change.resume(deps, instance_id)

    @WAIT.on(app)
    def wait_for_instance(toolbox: str, instance: str) -> Response:
        caller = callers()
        wanted = query(WaitQuery)
        until = deps.now() + timedelta(seconds=wanted.timeout)
        found, reached = instances.wait(
            deps,
            caller,
            toolbox_id(toolbox),
            instance_key(instance),
            lambda found: found.status is wanted.status,
            until,
        )
        return answer(_record(found), 200 if reached else 408)

    @EVENTS.on(app)
    def list_events(toolbox: str, instance: str) -> Response:
        caller = callers()
        limit, after = pages.requested()
        found = instances.events(deps, caller, toolbox_id(toolbox), instance_key(instance), limit, after)
        return pages.answer(EventRecord, found, limit, lambda last: (last.time, last.id))

    @POST_MORTEMS.on(app)
    def list_post_mortems(toolbox: str, instance: str) -> Response:
        caller = callers()
        limit, after = pages.requested()
        found = instances.post_mortems(deps, caller, toolbox_id(toolbox), instance_key(instance), limit, after)
        return pages.answer(PostMortemRecord, found, limit, lambda last: (last["time"], last["id"]))

    containers.add_to(app, deps, callers, idempotent)
    instance_actions.add_to(app, deps, callers, idempotent)
    return app


def _record(instance: Instance) -> InstanceRecord:
    return InstanceRecord.model_validate(instance)


def _answer(instance: Instance, final: int) -> StoredAnswer:
    """The record, with 202 while it is not as requested."""
    return StoredAnswer(final if instance.settled else 202, as_json(_record(instance)))
