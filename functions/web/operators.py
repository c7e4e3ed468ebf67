"""`toolboxes-user`: what only an operator may see and ask; to everybody else it is not there."""

from __future__ import annotations

from flask import Flask, Response, jsonify
from typing_extensions import TypedDict

from functions.domain import errors
from functions.domain.rollout.model import Rollout, Stage
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.rollout import rollouts
from functions.lifecycle.toolbox import orphan_droplets
from functions.web.callers import Callers
from functions.web.idempotency import request_key
from functions.web.record_types import Time, exact
from functions.web.requests import body
from functions.web.route import Empty, Route


@exact
class RolloutRecord(TypedDict):
    """`running`: those whose shim is being replaced now. `failed`: the one that stopped it, with the reason."""

    image: str
    stage: Stage
    running: list[str]
    upgraded: int
    skipped: int
    failed: str | None
    reason: str | None
    started_at: Time


@exact
class StrayDropletRecord(TypedDict):
    """A droplet with our tag that no toolbox knows; `toolbox_id` is the one that its name or a tag speaks of."""

    id: str
    name: str
    address: str | None
    tags: list[str]
    toolbox_id: str | None
    created_at: Time
    first_seen_at: Time


UPGRADE_ALL = Route(
    "POST", "/upgrade-shims", "The present shim on every toolbox, a few at a time; operators only",
    {202: RolloutRecord}, Empty, problems=(errors.NotFound, errors.Conflict), replayed=True,
)  # fmt: skip
UPGRADES = Route(
    "GET", "/upgrade-shims", "How that stands; operators only", {200: RolloutRecord}, problems=(errors.NotFound,)
)
STRAYS = Route(
    "GET", "/stray-droplets", "Droplets with our tag that no toolbox knows; operators only",
    {200: list[StrayDropletRecord]}, problems=(errors.NotFound,),
)  # fmt: skip
ROUTES = (UPGRADE_ALL, UPGRADES, STRAYS)


def add_to(app: Flask, deps: Dependencies, callers: Callers, fingerprint_key: bytes, shim_image: str) -> None:
    @UPGRADE_ALL.on(app)
    def upgrade_all() -> tuple[Response, int]:
        caller = callers()
        body(Empty)
        request = request_key(caller.account, fingerprint_key)
        return jsonify(rollout_record(rollouts.start(deps, caller, shim_image, request))), 202

    @UPGRADES.on(app)
    def upgrades() -> Response:
        return jsonify(rollout_record(rollouts.get(deps, callers(), shim_image)))

    @STRAYS.on(app)
    def list_strays() -> Response:
        found: list[StrayDropletRecord] = [
            {
                "id": one["id"],
                "name": one["name"],
                "address": one["address"],
                "tags": one["tags"],
                "toolbox_id": one["toolbox_id"],
                "created_at": one["created_at"].isoformat(),
                "first_seen_at": one["first_seen_at"].isoformat(),
            }
            for one in orphan_droplets.page(deps, callers())
        ]
        return jsonify(found)


def rollout_record(rollout: Rollout) -> RolloutRecord:
    return {
        "image": rollout.image,
        "stage": rollout.stage,
        "running": rollout.running,
        "upgraded": rollout.upgraded,
        "skipped": rollout.skipped,
        "failed": rollout.failed,
        "reason": rollout.reason,
        "started_at": rollout.started_at.isoformat(),
    }
