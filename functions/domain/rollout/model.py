"""A rollout: every toolbox gets the present shim, a few at a time, and it ends at the first failure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from functions.domain.toolbox.model import Toolbox

# How many toolboxes are upgraded at the same time: a broken shim reaches no more than these.
MAX_CONCURRENT = 3


class Stage(StrEnum):
    """How far a rollout is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout document, identified by the shim's `image`, by digest.

    due_at    when to look at it next; None once it has ended
    running   ids of the toolboxes that are being upgraded
    after     toolboxes are upgraded in the order of their ids; this is the last one that was reached
    upgraded  how many have the image
    skipped   how many could not be upgraded, or got another request meanwhile
    failed    the id of the toolbox that ended the rollout, with the `reason`
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
    """Fold in a toolbox that is being upgraded; None where it was deleted.

    It is still being upgraded, is upgraded, has another request, or has failed, which ends the rollout.
    """
    if toolbox and toolbox.upgrade and toolbox.upgrade.image == rollout.image:
        return rollout
    without = replace(rollout, running=[running for running in rollout.running if running != toolbox_id])
    if toolbox is None or toolbox.failure_reason is None or toolbox.shim_image == rollout.image:
        is_upgraded = toolbox is not None and toolbox.shim_image == rollout.image
        return replace(without, upgraded=without.upgraded + is_upgraded, skipped=without.skipped + (not is_upgraded))
    return replace(without, stage=Stage.FAILED, due_at=None, failed=toolbox_id, reason=toolbox.error)
