"""`toolboxes-user`: an account's toolboxes."""

from __future__ import annotations

from flask import Flask, Response, jsonify

from functions.lifecycle import toolboxes
from functions.lifecycle.ports import Ports
from functions.web import paging
from functions.web.app import create
from functions.web.callers import Callers
from functions.web.records import toolbox_record
from functions.web.requests import toolbox_id

NAME = "toolboxes-user"


def build(ports: Ports, callers: Callers) -> Flask:
    app = create(NAME, ports.limits)

    @app.get("/")
    def list_toolboxes() -> Response:
        caller = callers()
        limit, after = paging.asked(ports.limits)
        found = toolboxes.page(ports, caller, limit, after)
        last = (found[-1].created_at, found[-1].id) if len(found) == limit else None
        return paging.answer([toolbox_record(toolbox) for toolbox in found], limit, last)

    @app.get("/<key>")
    def get(key: str) -> Response:
        caller = callers()
        return jsonify(toolbox_record(toolboxes.get(ports, caller, toolbox_id(key))))

    @app.route("/<key>/refresh-status", methods=["GET", "POST"])
    def refresh_status(key: str) -> Response:
        caller = callers()
        return jsonify(toolbox_record(toolboxes.refresh(ports, caller, toolbox_id(key))))

    return app
