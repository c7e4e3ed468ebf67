"""The shims of all toolboxes upgraded by an operator's one call.

rollouts/{hash(image)}   Rollout
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from functions.domain.account.caller import Caller
from functions.domain.errors import Conflict, NotAllowedNow, NotFound
from functions.domain.rollout.model import AT_ONCE, Rollout, Stage, fold_toolbox
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Dependencies, Query, Ref, Task, Write
from functions.lifecycle.idempotency import RequestKey, find_earlier
from functions.lifecycle.repository import (
    TOOLBOXES,
    Loaded,
    encode,
    load,
    load_many,
    overwrite,
    publish_or_leave_to_sweep,
    query,
    toolbox_ref,
)
from functions.lifecycle.toolbox.change import ToolboxRequest, upgrade_shim

log = logging.getLogger(__name__)

ROLLOUTS = "rollouts"
PAGE = 50
LOOKED_AT_EVERY = timedelta(seconds=30)


def start(deps: Dependencies, caller: Caller, image: str, request: RequestKey | None = None) -> Rollout:
    """Begin, or begin again where it has ended; one that is running goes on. Raises NotFound for all but admins.

    A repeat tells how the one stands that the first attempt began or met. Raises KeyReused, Conflict.
    """
    _require_admin(caller)
    known, expired = find_earlier(deps, request)
    found = _load(deps, Ref(ROLLOUTS, known.about) if known else _ref(image))
    now = deps.now()
    asked: list[Write] = [request.asked(_ref(image).id, now, expired)] if request and not known else []
    if found and (known or found.value.stage is Stage.RUNNING):
        if asked:
            deps.store.commit(asked)
        return found.value
    rollout = Rollout(image, caller.subject, started_at=now, due_at=now)
    _saved(deps, found, rollout, asked)
    publish_or_leave_to_sweep(deps, Task("rollout", _ref(image).id))
    return rollout


def get(deps: Dependencies, caller: Caller, image: str) -> Rollout:
    """Raises NotFound."""
    _require_admin(caller)
    found = _load(deps, _ref(image))
    if found is None:
        raise NotFound("the present shim is not being rolled out")
    return found.value


def run(deps: Dependencies, rollout_id: str) -> None:
    """See what has become of those that were asked, and ask the next ones. Whoever was asked twice had one wish."""
    found = _load(deps, Ref(ROLLOUTS, rollout_id))
    if found is None or found.value.stage is not Stage.RUNNING:
        return
    rollout = found.value
    for toolbox_id, loaded in zip(rollout.running, load_many(deps, Toolbox, _refs(rollout)), strict=True):
        rollout = fold_toolbox(rollout, loaded.value if loaded else None, toolbox_id)
    if rollout.stage is Stage.RUNNING:
        rollout = _further(deps, rollout)
    try:
        _saved(deps, found, rollout)
    except Conflict:
        log.info("another worker was first", extra={"rollout": rollout_id})


def _further(deps: Dependencies, rollout: Rollout) -> Rollout:
    """The next ones asked, as many as may be under way; done where none is left."""
    active = (("status", "==", ToolboxStatus.ACTIVE),)
    while len(rollout.running) < AT_ONCE:
        after = (rollout.after,) if rollout.after else None
        page = query(deps, Toolbox, Query(TOOLBOXES, active, limit=PAGE, after=after))
        if not page:
            break
        for toolbox in (loaded.value for loaded in page):
            if len(rollout.running) < AT_ONCE:
                rollout = _asked(deps, replace(rollout, after=toolbox.id), toolbox)
    if rollout.running:
        return replace(rollout, due_at=deps.now() + LOOKED_AT_EVERY)
    return replace(rollout, stage=Stage.DONE, due_at=None)


def _asked(deps: Dependencies, rollout: Rollout, toolbox: Toolbox) -> Rollout:
    if toolbox.shim_image == rollout.image:
        return replace(rollout, upgraded=rollout.upgraded + 1)
    under_way = toolbox.upgrade is not None and toolbox.upgrade.image == rollout.image
    try:
        if not under_way:
            operator = Caller(rollout.actor, rollout.actor, admin=True)
            upgrade_shim(deps, ToolboxRequest(operator, toolbox.id), rollout.image)
    except (NotAllowedNow, NotFound) as error:
        log.info("not upgraded: %s", error, extra={"toolbox": toolbox.id})
        return replace(rollout, skipped=rollout.skipped + 1)
    return replace(rollout, running=[*rollout.running, toolbox.id])


def _require_admin(caller: Caller) -> None:
    if not caller.admin:
        raise NotFound("there is no such thing")


def _ref(image: str) -> Ref:
    return Ref(ROLLOUTS, hashlib.sha256(image.encode()).hexdigest())


def _refs(rollout: Rollout) -> list[Ref]:
    return [toolbox_ref(one) for one in rollout.running]


def _load(deps: Dependencies, ref: Ref) -> Loaded[Rollout] | None:
    return load(deps, Rollout, ref)


def _saved(deps: Dependencies, found: Loaded[Rollout] | None, rollout: Rollout, writes: Sequence[Write] = ()) -> None:
    """With `writes` in the same commit. Raises Conflict."""
    ref, document = _ref(rollout.image), encode(deps, replace(rollout, revision=deps.new_id()))
    deps.store.commit([overwrite(ref, document, found), *writes])
