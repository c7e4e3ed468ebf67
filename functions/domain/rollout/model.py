"""An operator's wish that every toolbox have the present shim: a few at a time, up to the first failure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from functions.domain.toolbox.model import Toolbox

AT_ONCE = 3


class Stage(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rollout:
    """`image` by digest is also what it is known by. `running` are the toolboxes that were asked and have not ended.

    `after` is the id up to which all were asked. `skipped` are those that could not be asked now, or were meant for
    something else meanwhile. `due_at` while it is running.
    """

    image: str
    actor: str
    started_at: datetime
    due_at: datetime | None
    stage: Stage = Stage.RUNNING
    running: list[str] = field(default_factory=list)
    after: str = ""
    upgraded: int = 0
    skipped: int = 0
    failed: str | None = None
    reason: str | None = None
    revision: str = ""


def fold_toolbox(rollout: Rollout, toolbox: Toolbox | None, toolbox_id: str) -> Rollout:
    """What has become of one of those that were asked: it goes on, has ended well, is gone, or stops it all."""
    if toolbox and toolbox.upgrade and toolbox.upgrade.image == rollout.image:
        return rollout
    left = replace(rollout, running=[one for one in rollout.running if one != toolbox_id])
    if toolbox is None or toolbox.failure_reason is None or toolbox.shim_image == rollout.image:
        ended_well = toolbox is not None and toolbox.shim_image == rollout.image
        return replace(left, upgraded=left.upgraded + ended_well, skipped=left.skipped + (not ended_well))
    return replace(left, stage=Stage.FAILED, due_at=None, failed=toolbox_id, reason=toolbox.error)
