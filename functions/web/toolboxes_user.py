"""`toolboxes-user`: an account's toolboxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify

from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import run_once
from functions.lifecycle.toolbox import read as toolboxes
from functions.web import operators, paging, registries, toolbox_life
from functions.web.app import create
from functions.web.callers import Callers
from functions.web.idempotency import request_key
from functions.web.record_types import ToolboxRecord
from functions.web.records import toolbox_record
from functions.web.requests import toolbox_id
from functions.web.route import ASKS_SHIM, Proof, Route

NAME = "toolboxes-user"

LIST = Route(
    "GET", "/", "The account's toolboxes, without the deprovisioned", {200: list[ToolboxRecord]}, query=paging.Page,
    headers=("Link",),
)  # fmt: skip
GET = Route("GET", "/<box>", "A toolbox", {200: ToolboxRecord})
REFRESH = [
    Route(
        method, "/<box>/refresh-status", "Ask the toolbox how it is; one that cannot be reached is a record too",
        {200: ToolboxRecord}, problems=ASKS_SHIM, replayed=method == "POST",
    )
    for method in ("GET", "POST")
]  # fmt: skip
OPENAPI = Route("GET", "/openapi.json", "This document", {200: dict[str, Any]}, proof=Proof.ANYBODY)
ROUTES = (LIST, GET, *REFRESH, OPENAPI, *toolbox_life.ROUTES, *operators.ROUTES, *registries.ROUTES)


def build(
    deps: Dependencies,
    callers: Callers,
    described: Callable[[], dict[str, Any]],
    fingerprint_key: bytes,
    shim_image: str,
) -> Flask:
    """`described` makes the OpenAPI document of all functions; `shim_image` is what an upgrade leads to, by digest."""
    app = create(NAME, deps.limits)

    @LIST.on(app)
    def list_toolboxes() -> Response:
        caller = callers()
        limit, after = paging.asked(deps.limits)
        found = toolboxes.page(deps, caller, limit, after)
        last = (found[-1].created_at, found[-1].id) if len(found) == limit else None
        return paging.answer([toolbox_record(toolbox) for toolbox in found], limit, last)

    @GET.on(app)
    def get(box: str) -> Response:
        caller = callers()
        return jsonify(toolbox_record(toolboxes.get(deps, caller, toolbox_id(box))))

    @REFRESH[0].on(app)
    def refresh_status(box: str) -> Response:
        caller = callers()
        return jsonify(toolbox_record(toolboxes.refresh(deps, caller, toolbox_id(box))))

    @REFRESH[1].on(app)
    def refresh_status_once(box: str) -> tuple[Response, int]:
        caller = callers()
        status, record = run_once(
            deps,
            request_key(caller.account, fingerprint_key),
            lambda: toolboxes.get(deps, caller, toolbox_id(box)).id,
            lambda about: (200, toolbox_record(toolboxes.refresh(deps, caller, about))),
        )
        return jsonify(record), status

    @OPENAPI.on(app)
    def openapi() -> Response:
        return jsonify(described())

    registries.add_to(app, deps, callers, fingerprint_key)
    operators.add_to(app, deps, callers, fingerprint_key, shim_image)
    toolbox_life.add_to(app, deps, callers, fingerprint_key, shim_image)
    return app
