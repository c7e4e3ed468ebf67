"""`toolboxes-user`: what is asked of a toolbox as a whole, and what became of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Annotated

from flask import Flask, Response, jsonify
from pydantic import AfterValidator, Field

from functions.domain import errors
from functions.domain.toolbox.droplet import IMAGE, SLUG
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import Replay
from functions.lifecycle.toolbox import change as toolbox_change
from functions.lifecycle.toolbox import read as toolboxes
from functions.lifecycle.toolbox.change import Answer, NewToolbox, ToolboxRequest, provision
from functions.web import paging
from functions.web.callers import Callers
from functions.web.idempotency import replay
from functions.web.record_types import EventRecord, Health, ToolboxRecord
from functions.web.records import event_record, toolbox_health, toolbox_record
from functions.web.requests import body, toolbox_id
from functions.web.route import ASKS_SHIM, Empty, Route


def _text(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError("it has no control characters")
    return text


_CONTROL = Field(json_schema_extra={"not": {"pattern": r"[\x00-\x1f\x7f-\x9f]"}})
Words = Annotated[str, AfterValidator(_text), _CONTROL]
Slug = Annotated[str, Field(pattern=f"^{SLUG.pattern}$")]


class Provision(Empty):
    """By DigitalOcean's slugs; `digitalocean-options` tells of regions and sizes."""

    name: Annotated[Words, Field(min_length=1, max_length=128)]
    regionSlug: Slug
    sizeSlug: Slug
    imageSlug: Slug = IMAGE
    description: Annotated[Words, Field(max_length=1024)] | None = None

    def wanted(self) -> NewToolbox:
        return NewToolbox(self.name, self.regionSlug, self.sizeSlug, self.imageSlug, self.description)


PROVISION = Route(
    "POST", "/", "Provision a toolbox: on record at once, its droplet is on its way", {201: ToolboxRecord}, Provision,
    problems=(errors.QuotaExceeded, errors.AccountNotActive), replayed=True,
)  # fmt: skip
_ASKED = {200: ToolboxRecord, 202: ToolboxRecord}
_CHANGED = (errors.NotAllowedNow,)
DEPROVISION = Route("DELETE", "/<box>", "End a toolbox, its instances and its droplet", _ASKED, Empty, replayed=True)
REBUILD = Route(
    "POST", "/<box>/rebuild", "Another droplet for it, with the same instances", _ASKED, Empty,
    problems=(*_CHANGED, errors.AccountNotActive), replayed=True,
)  # fmt: skip
UPGRADE = Route(
    "POST", "/<box>/upgrade-shim", "The present shim in place of its own", _ASKED, Empty, problems=_CHANGED,
    replayed=True,
)  # fmt: skip
EVENTS = Route(
    "GET", "/<box>/events", "What happened to it, newest first", {200: list[EventRecord]}, query=paging.Page,
    headers=("Link",),
)  # fmt: skip
STATS = Route("GET", "/<box>/stats", "What its droplet uses now", {200: Health}, problems=ASKS_SHIM)
ROUTES = (PROVISION, DEPROVISION, REBUILD, UPGRADE, EVENTS, STATS)

Change = Callable[[Dependencies, ToolboxRequest], Answer]


def add_to(app: Flask, deps: Dependencies, callers: Callers, fingerprint_key: bytes, shim_image: str) -> None:
    @PROVISION.on(app)
    def post() -> tuple[Response, int]:
        caller = callers()
        again: Replay[Toolbox] | None = replay(caller.account, fingerprint_key, lambda box: (201, toolbox_record(box)))
        return _answer(provision(deps, caller, body(Provision).wanted(), again), 201, 201)

    @DEPROVISION.on(app)
    def delete(box: str) -> tuple[Response, int]:
        return changed(toolbox_change.deprovision, box)

    @REBUILD.on(app)
    def rebuild(box: str) -> tuple[Response, int]:
        return changed(toolbox_change.rebuild, box)

    @UPGRADE.on(app)
    def upgrade(box: str) -> tuple[Response, int]:
        return changed(lambda ports, asked: toolbox_change.upgrade_shim(deps, asked, shim_image), box)

    def changed(make: Change, box: str) -> tuple[Response, int]:
        caller = callers()
        body(Empty)
        again: Replay[Toolbox] | None = replay(caller.account, fingerprint_key, lambda one: (200, toolbox_record(one)))
        return _answer(make(deps, ToolboxRequest(caller, toolbox_id(box), again)), 200, 202)

    @EVENTS.on(app)
    def events(box: str) -> Response:
        caller = callers()
        limit, after = paging.asked(deps.limits)
        found = toolboxes.history(deps, caller, toolbox_id(box), limit, after)
        last = (found[-1]["time"], found[-1]["id"]) if len(found) == limit else None
        return paging.answer([event_record(document) for document in found], limit, last)

    @STATS.on(app)
    def stats(box: str) -> Response:
        return jsonify(toolbox_health(toolboxes.stats(deps, callers(), toolbox_id(box))))


def _answer(answer: Answer, settled: int, unsettled: int) -> tuple[Response, int]:
    """A record; or what the same request was answered with before."""
    if isinstance(answer, Toolbox):
        return jsonify(toolbox_record(answer)), settled if answer.settled else unsettled
    status, stored = answer
    return jsonify(stored), status
