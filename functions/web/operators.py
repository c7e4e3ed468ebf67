"""Routes for operators: the rollout of a shim, and droplets without a toolbox. Part of `toolboxes-user`.

An account without the admin claim gets the 404 of a route that does not exist.
"""

from __future__ import annotations

from flask import Flask, Response
from pydantic import Field

from functions.domain import errors
from functions.domain.rollout.model import Stage
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import StoredAnswer
from functions.lifecycle.rollout import rollouts
from functions.lifecycle.toolbox import orphan_droplets
from functions.web.idempotency import Idempotent
from functions.web.records import Record, Time, answer, answer_list, as_json
from functions.web.requests import Callers, body
from functions.web.route import NoFields, Route


class RolloutRecord(Record):
    """The replacement of every toolbox's shim by one image."""

    image: str = Field(description="The shim's image, by digest.")
    stage: Stage = Field(description="`running`, `done`, or `failed` at the first toolbox that failed.")
    running: list[str] = Field(description="Toolboxes whose shim is being replaced now.")
    upgraded: int = Field(description="Number of toolboxes that have the image.")
    skipped: int = Field(description="Number of toolboxes that could not be upgraded now.")
    failed: str | None = Field(description="The toolbox that stopped the rollout.")
    reason: str | None = Field(description="Why that toolbox failed.")
    started_at: Time = Field(description="When the rollout was started.")


class OrphanDropletRecord(Record):
    """A droplet that carries the tag of toolboxes and belongs to none."""

    id: str = Field(description="DigitalOcean's id of the droplet.")
    name: str = Field(description="Its name.")
    address: str | None = Field(description="Its public IPv4 address.")
    tags: list[str] = Field(description="Its tags.")
    toolbox_id: str | None = Field(description="The toolbox that its name or a tag mentions.")
    created_at: Time = Field(description="When it was created.")
    first_seen_at: Time = Field(description="When it was first found without a toolbox.")


UPGRADE_ALL = Route(
    operation="startRollout",
    method="POST",
    path="/upgrade-shims",
    summary="Upgrade every toolbox's shim",
    description="Operators only. Three toolboxes at a time, until the first failure. A running rollout goes on.",
    answers={202: RolloutRecord},
    body=NoFields,
    problems=(errors.NotFound, errors.Conflict),
    idempotent=True,
)
GET_ROLLOUT = Route(
    operation="getRollout",
    method="GET",
    path="/upgrade-shims",
    summary="Get the rollout of the configured shim",
    description="Operators only.",
    answers={200: RolloutRecord},
    problems=(errors.NotFound,),
)
LIST_ORPHANS = Route(
    operation="listOrphanDroplets",
    method="GET",
    path="/orphan-droplets",
    summary="List orphan droplets",
    description="Operators only. Droplets with the tag of toolboxes that belong to none. They are never destroyed.",
    answers={200: list[OrphanDropletRecord]},
    problems=(errors.NotFound,),
)
ROUTES = (UPGRADE_ALL, GET_ROLLOUT, LIST_ORPHANS)


def add_to(app: Flask, deps: Dependencies, callers: Callers, idempotent: Idempotent, shim_image: str) -> None:
    """Add these routes to the function's app."""

    @UPGRADE_ALL.on(app)
    def upgrade_all() -> Response:
        caller = callers()
        body(NoFields)
        rollouts.require_admin(caller)
        return idempotent(
            caller,
            lambda commit: rollouts.start(deps, caller, shim_image, commit),
            lambda rollout_id, _commit: rollouts.resume(deps, rollout_id),
            lambda rollout: StoredAnswer(202, as_json(RolloutRecord.model_validate(rollout))),
        )

    @GET_ROLLOUT.on(app)
    def get_rollout() -> Response:
        return answer(RolloutRecord.model_validate(rollouts.get(deps, callers(), shim_image)))

    @LIST_ORPHANS.on(app)
    def list_orphans() -> Response:
        return answer_list(OrphanDropletRecord, orphan_droplets.page(deps, callers()))
