"""One line of an instance's or toolbox's history. instance/event.py and toolbox/event.py say what is recorded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

# The actors that are no account: the reconciler, and the backend through a webhook.
CONVERGE = "converge"
BACKEND = "backend"


@dataclass(frozen=True, slots=True)
class Event:
    """`id` is derived from what is recorded, so that a repeated commit records the same event and not another one.

    An instance's ids sort in the order in which things happened.
    """

    id: str
    time: datetime
    type: str
    actor: str
    generation: int
    before: str | None
    after: str | None
    detail: str | None = None


def digest(text: str) -> str:
    """Return a short id for what `text` describes."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
