"""New values for an instance's secret variables, waiting to be put into it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from functions.domain.secrets import Sealed


@dataclass(frozen=True, slots=True)
class Rotation:
    """`times`: of when the newest value is that was heard, for each variable. `due_at` while something is `waiting`."""

    instance_id: str
    times: dict[str, datetime]
    waiting: Sealed | None
    due_at: datetime | None
    revision: str
    expire_at: datetime
