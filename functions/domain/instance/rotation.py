"""A rotation: new values for an instance's secret variables, which wait until they can be applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from functions.domain.secrets import Sealed


@dataclass(frozen=True, slots=True)
class Rotation:
    """`waiting` are the values that are not applied yet, encrypted; None while there are none.

    `times` says of each variable when its newest value was issued, also after it was applied: a message that comes
    late must not bring an older value back. `due_at` is set while values wait.
    """

    instance_id: str
    times: dict[str, datetime]
    waiting: Sealed | None
    due_at: datetime | None
    revision: str
    expire_at: datetime


def newer_values(rotation: Rotation | None, values: Mapping[str, str], issued_at: datetime) -> dict[str, str]:
    """Return those of `values` that are not older than the newest value of their variable."""
    times = rotation.times if rotation else {}
    return {name: value for name, value in values.items() if name not in times or times[name] <= issued_at}
