"""The function `toolboxes-user`: an account's toolboxes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Annotated, Any

from flask import Flask, Response, jsonify
from pydantic import AfterValidator, Field

from functions.domain import errors
from functions.domain.toolbox.droplet import IMAGE, SLUG
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import CommitHook, StoredAnswer
from functions.lifecycle.toolbox import change
from functions.lifecycle.toolbox import read as toolboxes
from functions.lifecycle.toolbox.change import NewToolbox, ToolboxRequest
from functions.web import operators, registries
from functions.web.app import create
from functions.web.idempotency import Idempotent
from functions.web.pages import Page, Pages
from functions.web.records import EventRecord, Health, ToolboxRecord, answer, as_json
from functions.web.requests import Callers, body, toolbox_id
from functions.web.route import SHIM_COMMAND, Body, NoFields, Proof, Route

NAME = "toolboxes-user"


def _text(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("the text contains a control character")
    return text


_NO_CONTROL_CHARACTERS = Field(json_schema_extra={"not": {"pattern": r"[\x00-\x1f\x7f-\x9f]"}})
Text = Annotated[str, AfterValidator(_text), _NO_CONTROL_CHARACTERS]
Slug = Annotated[str, Field(pattern=f"^{SLUG.pattern}$")]


class Provision(Body):
    """A new toolbox in DigitalOcean's slugs; the function `digitalocean-options` lists regions and sizes."""

    name: Annotated[Text, Field(min_length=1, max_length=128)] = Field(description="A name for people.")
    region_slug: Slug = Field(description="DigitalOcean region, e.g. `fra1`.")
    size_slug: Slug = Field(description="DigitalOcean droplet size, e.g. `s-1vcpu-1gb`.")
    image_slug: Slug = Field(default=IMAGE, description="DigitalOcean image of the droplet.")
    description: Annotated[Text, Field(max_length=1024)] | None = Field(default=None, description="Free text.")

    def new_toolbox(self) -> NewToolbox:
        """The body in the domain's terms."""
        return NewToolbox(self.name, self.region_slug, self.size_slug, self.image_slug, self.description)


CHANGED = {200: ToolboxRecord, 202: ToolboxRecord}
LIST = Route(
    operation="listToolboxes",
    method="GET",
    path="/",
    summary="List toolboxes",
    description="Newest first, without deprovisioned ones. The next page is in the Link header.",
    answers={200: list[ToolboxRecord]},
    query=Page,
    headers=("Link",),
)
GET = Route(
    operation="getToolbox",
    method="GET",
    path="/<toolbox>",
    summary="Get a toolbox",
    description="As it was last observed; `last_heartbeat_at` says when. A deprovisioned one is answered too.",
    answers={200: ToolboxRecord},
)
REFRESH, REFRESH_ONCE = (
    Route(
        operation=operation,
        method=method,
        path="/<toolbox>/refresh-status",
        summary=summary,
        description="Calls the toolbox's shim and records the outcome. Without an answer the status is `unresponsive`.",
        answers={200: ToolboxRecord},
        problems=SHIM_COMMAND,
        idempotent=method == "POST",
    )
    for method, operation, summary in (
        ("GET", "getToolboxStatus", "Get a toolbox with its status refreshed"),
        ("POST", "refreshToolboxStatus", "Refresh a toolbox's status"),
    )
)
PROVISION = Route(
    operation="provisionToolbox",
    method="POST",
    path="/",
    summary="Provision a toolbox",
    description="Answers at once. The droplet is created next; `status` becomes `active` within about a minute.",
    answers={201: ToolboxRecord},
    body=Provision,
    problems=(errors.QuotaExceeded, errors.AccountNotActive),
    idempotent=True,
)
DEPROVISION = Route(
    operation="deprovisionToolbox",
    method="DELETE",
    path="/<toolbox>",
    summary="Deprovision a toolbox",
    description="Deletes its instances, its droplet and all data on it. 202 while that is under way.",
    answers=CHANGED,
    body=NoFields,
    idempotent=True,
)
REBUILD = Route(
    operation="rebuildToolbox",
    method="POST",
    path="/<toolbox>/rebuild",
    summary="Rebuild a toolbox on another droplet",
    description=(
        "Deploys every instance on a new droplet under its id and host ports, then destroys the old droplet. Volumes "
        "are not copied."
    ),
    answers=CHANGED,
    body=NoFields,
    problems=(errors.NotAllowedNow, errors.AccountNotActive),
    idempotent=True,
)
UPGRADE = Route(
    operation="upgradeShim",
    method="POST",
    path="/<toolbox>/upgrade-shim",
    summary="Upgrade a toolbox's shim",
    description="Replaces the shim by the configured one, which is proven first. Containers keep running.",
    answers=CHANGED,
    body=NoFields,
    problems=(errors.NotAllowedNow,),
    idempotent=True,
)
EVENTS = Route(
    operation="listToolboxEvents",
    method="GET",
    path="/<toolbox>/events",
    summary="List a toolbox's events",
    description="Newest first; also those of a deprovisioned toolbox. The next page is in the Link header.",
    answers={200: list[EventRecord]},
    query=Page,
    headers=("Link",),
)
STATS = Route(
    operation="getToolboxStats",
    method="GET",
    path="/<toolbox>/stats",
    summary="Get what a toolbox's droplet uses",
    description="Measured by the toolbox's shim now, and not recorded.",
    answers={200: Health},
    problems=SHIM_COMMAND,
)
OPENAPI = Route(
    operation="getOpenapi",
    method="GET",
    path="/openapi.json",
    summary="Get this document",
    description="OpenAPI 3.1, of every function.",
    answers={200: dict[str, Any]},
    proof=Proof.ANYBODY,
)
ROUTES = (
    LIST,
    GET,
    REFRESH,
    REFRESH_ONCE,
    OPENAPI,
    PROVISION,
    DEPROVISION,
    REBUILD,
    UPGRADE,
    EVENTS,
    STATS,
    *operators.ROUTES,
    *registries.ROUTES,
)

Change = Callable[[Dependencies, ToolboxRequest], Toolbox]


def build(
    deps: Dependencies,
    callers: Callers,
    openapi_document: Callable[[], dict[str, Any]],
    fingerprint_key: bytes,
    shim_image: str,
) -> Flask:
    """`openapi_document` makes the document of all functions; upgrades install `shim_image`, by digest."""
    app, idempotent = create(NAME, deps.limits), Idempotent(deps, fingerprint_key)
    pages = Pages(deps.limits, fingerprint_key)

    @LIST.on(app)
    def list_toolboxes() -> Response:
        caller = callers()
        limit, after = pages.requested()
        found = toolboxes.page(deps, caller, limit, after)
        return pages.answer(ToolboxRecord, found, limit, lambda last: (last.created_at, last.id))

    @GET.on(app)
    def get_toolbox(toolbox: str) -> Response:
        caller = callers()
        return answer(_record(toolboxes.get(deps, caller, toolbox_id(toolbox))))

    @REFRESH.on(app)
    def get_refreshed(toolbox: str) -> Response:
        caller = callers()
        return answer(_record(toolboxes.refresh(deps, caller, toolbox_id(toolbox))))

    @REFRESH_ONCE.on(app)
    def refresh_once(toolbox: str) -> Response:
        caller = callers()
        return idempotent.act(
            caller,
            lambda: toolboxes.get(deps, caller, toolbox_id(toolbox)).id,
            lambda about: toolboxes.refresh(deps, caller, about),
            lambda refreshed: StoredAnswer(200, as_json(_record(refreshed))),
        )

    @OPENAPI.on(app)
    def get_openapi() -> Response:
        return jsonify(openapi_document())

    @PROVISION.on(app)
    def provision_toolbox() -> Response:
        caller, new = callers(), body(Provision).new_toolbox()
        return idempotent(
            caller,
            lambda commit: change.provision(deps, caller, new, commit),
            resumed,
            lambda provisioned: StoredAnswer(201, as_json(_record(provisioned))),
        )

    @DEPROVISION.on(app)
    def deprovision(toolbox: str) -> Response:
        return changed(change.deprovision, toolbox)

    @REBUILD.on(app)
    def rebuild(toolbox: str) -> Response:
        return changed(change.rebuild, toolbox)

    @UPGRADE.on(app)
    def upgrade_shim(toolbox: str) -> Response:
        return changed(lambda _, request: change.upgrade_shim(deps, request, shim_image), toolbox)

    def changed(make: Change, toolbox: str) -> Response:
        caller = callers()
        body(NoFields)
        box = toolbox_id(toolbox)
        return idempotent(caller, lambda commit: make(deps, ToolboxRequest(caller, box, commit)), resumed, _answer)

    def resumed(box: str, _commit: CommitHook) -> Toolbox:
        return change.resume(deps, box)

    @EVENTS.on(app)
    def list_events(toolbox: str) -> Response:
        caller = callers()
        limit, after = pages.requested()
        found = toolboxes.events(deps, caller, toolbox_id(toolbox), limit, after)
        return pages.answer(EventRecord, found, limit, lambda last: (last.time, last.id))

    @STATS.on(app)
    def get_stats(toolbox: str) -> Response:
        return answer(Health.model_validate(toolboxes.stats(deps, callers(), toolbox_id(toolbox)).health))

    registries.add_to(app, deps, callers, idempotent)
    operators.add_to(app, deps, callers, idempotent, shim_image)
    return app


def _record(toolbox: Toolbox) -> ToolboxRecord:
    return ToolboxRecord.model_validate(toolbox)


def _answer(toolbox: Toolbox) -> StoredAnswer:
    """The record, with 202 while it is not as requested."""
    return StoredAnswer(200 if toolbox.settled else 202, as_json(_record(toolbox)))
