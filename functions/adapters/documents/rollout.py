"""The stored form of a shim rollout (`rollouts/{hash}`)."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.domain.rollout.model import Rollout, Stage


class RolloutDocument(TypedDict):
    """The sweep queries `due_at`."""

    image: str
    actor: str
    started_at: datetime
    due_at: datetime | None
    stage: str
    running: list[str]
    after: str
    upgraded: int
    skipped: int
    failed: str | None
    reason: str | None
    revision: str


def encode_rollout(rollout: Rollout) -> RolloutDocument:
    """Convert a rollout to its document."""
    return {
        "image": rollout.image,
        "actor": rollout.actor,
        "started_at": rollout.started_at,
        "due_at": rollout.due_at,
        "stage": rollout.stage.value,
        "running": list(rollout.running),
        "after": rollout.after,
        "upgraded": rollout.upgraded,
        "skipped": rollout.skipped,
        "failed": rollout.failed,
        "reason": rollout.reason,
        "revision": rollout.revision,
    }


def decode_rollout(stored: RolloutDocument) -> Rollout:
    """Convert a document to its rollout."""
    return Rollout(
        image=stored["image"],
        actor=stored["actor"],
        started_at=stored["started_at"],
        due_at=stored["due_at"],
        stage=Stage(stored["stage"]),
        running=list(stored["running"]),
        after=stored["after"],
        upgraded=stored["upgraded"],
        skipped=stored["skipped"],
        failed=stored["failed"],
        reason=stored["reason"],
        revision=stored["revision"],
    )
