"""Roll out the present shim to all toolboxes: a few at a time, by a task that each sweep continues.

rollouts/{hash(image)}   Rollout
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from functions.domain.account.model import Caller
from functions.domain.errors import Conflict, NotAllowedNow, NotFound
from functions.domain.rollout.model import MAX_CONCURRENT, Rollout, Stage, fold_toolbox
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Dependencies, Query, Ref, Task, Write
from functions.lifecycle.idempotency import WITHOUT_KEY, CommitHook, record_intent
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
CHECK_INTERVAL = timedelta(seconds=30)


def start(deps: Dependencies, caller: Caller, image: str, commit: CommitHook = WITHOUT_KEY) -> Rollout:
    """Start a rollout, or start it again where it has ended; one that is running is returned as it is.

    Raises NotFound for callers that are not admins, Repeated, Conflict.
    """
    require_admin(caller)
    found, now = _load(deps, _ref(image)), deps.now()
    if found and found.value.stage is Stage.RUNNING:
        record_intent(deps, commit, _ref(image).id)
        return found.value
    rollout = Rollout(image, caller.subject, started_at=now, due_at=now)
    try:
        _save(deps, found, rollout, commit.intent(_ref(image).id))
    except Conflict:
        commit.refused()
        raise
    publish_or_leave_to_sweep(deps, Task("rollout", _ref(image).id))
    return rollout


def get(deps: Dependencies, caller: Caller, image: str) -> Rollout:
    """The rollout of the shim `image`. Raises NotFound, also for callers that are not admins."""
    require_admin(caller)
    found = _load(deps, _ref(image))
    if found is None:
        raise NotFound("There is no rollout of the present shim. Start one with POST.")
    return found.value


def resume(deps: Dependencies, rollout_id: str) -> Rollout:
    """The rollout as it is now, for a request that is recorded. Raises NotFound."""
    found = _load(deps, Ref(ROLLOUTS, rollout_id))
    if found is None:
        raise NotFound("The rollout that this request started no longer exists.")
    return found.value


def run(deps: Dependencies, rollout_id: str) -> None:
    """Check the toolboxes that are being upgraded, and request the upgrade of the next ones.

    Two workers may do so at the same time: requesting an upgrade twice is the same as once, and the second save is
    refused.
    """
    found = _load(deps, Ref(ROLLOUTS, rollout_id))
    if found is None or found.value.stage is not Stage.RUNNING:
        return
    rollout = found.value
    for toolbox_id, loaded in zip(rollout.running, load_many(deps, Toolbox, _refs(rollout)), strict=True):
        rollout = fold_toolbox(rollout, loaded.value if loaded else None, toolbox_id)
    if rollout.stage is Stage.RUNNING:
        rollout = _upgrade_next(deps, rollout)
    try:
        _save(deps, found, rollout)
    except Conflict:
        log.info("another worker has continued the rollout", extra={"rollout": rollout_id})


def _upgrade_next(deps: Dependencies, rollout: Rollout) -> Rollout:
    """Request upgrades until MAX_CONCURRENT are running; the rollout is done where no toolbox is left."""
    active = (("status", "==", ToolboxStatus.ACTIVE),)
    while len(rollout.running) < MAX_CONCURRENT:
        after = (rollout.after,) if rollout.after else None
        page = query(deps, Toolbox, Query(TOOLBOXES, active, limit=PAGE, after=after))
        if not page:
            break
        for toolbox in (loaded.value for loaded in page):
            if len(rollout.running) < MAX_CONCURRENT:
                rollout = _upgrade(deps, replace(rollout, after=toolbox.id), toolbox)
    if rollout.running:
        return replace(rollout, due_at=deps.now() + CHECK_INTERVAL)
    return replace(rollout, stage=Stage.DONE, due_at=None)


def _upgrade(deps: Dependencies, rollout: Rollout, toolbox: Toolbox) -> Rollout:
    if toolbox.shim_image == rollout.image:
        return replace(rollout, upgraded=rollout.upgraded + 1)
    is_requested = toolbox.upgrade is not None and toolbox.upgrade.image == rollout.image
    try:
        if not is_requested:
            operator = Caller(rollout.actor, rollout.actor, admin=True)
            upgrade_shim(deps, ToolboxRequest(operator, toolbox.id), rollout.image)
    except (NotAllowedNow, NotFound) as error:
        log.info("the toolbox is skipped: %s", error, extra={"toolbox": toolbox.id})
        return replace(rollout, skipped=rollout.skipped + 1)
    return replace(rollout, running=[*rollout.running, toolbox.id])


def require_admin(caller: Caller) -> None:
    """Raise NotFound, as for an unknown route, unless the caller is an administrator."""
    if not caller.admin:
        raise NotFound("There is no such route.")


def _ref(image: str) -> Ref:
    return Ref(ROLLOUTS, hashlib.sha256(image.encode()).hexdigest())


def _refs(rollout: Rollout) -> list[Ref]:
    return [toolbox_ref(toolbox_id) for toolbox_id in rollout.running]


def _load(deps: Dependencies, ref: Ref) -> Loaded[Rollout] | None:
    return load(deps, Rollout, ref)


def _save(deps: Dependencies, found: Loaded[Rollout] | None, rollout: Rollout, writes: Sequence[Write] = ()) -> None:
    """Save the rollout, with `writes` in the same commit. Raises Conflict."""
    ref, document = _ref(rollout.image), encode(deps, replace(rollout, revision=deps.new_id()))
    deps.store.commit([overwrite(ref, document, found), *writes])
