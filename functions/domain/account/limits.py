"""How much an account may have, and how often it may ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rate:
    """`at_once` in one moment, `a_minute` in the long run: an allowance that fills up again as time passes.

    What is spent of it is one time, that at which it is full again, as in the generic cell rate algorithm (ITU-T
    I.371).
    """

    at_once: int
    a_minute: int

    def spent(self, full_at: datetime, now: datetime, count: int = 1) -> datetime:
        """When it is full again, with `count` more taken."""
        return max(full_at, now) + timedelta(minutes=1) * count / self.a_minute

    def wait(self, full_at: datetime, now: datetime, count: int = 1) -> timedelta:
        """How long until `count` more may be taken; nothing or less where they may be now."""
        return self.spent(full_at, now, count) - now - timedelta(minutes=1) * self.at_once / self.a_minute

    def share(self, part: int) -> Rate:
        """One of `part` parts of it."""
        return Rate(max(1, self.at_once // part), max(1, self.a_minute // part))


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory_mib` is the sum of all of an account's instances' limits; `page` is the longest that a list may be."""

    toolboxes: int = 10
    instances: int = 100
    memory_mib: int = 65_536
    requests_at_once: int = 60
    requests_a_minute: int = 300
    body_bytes: int = 1_000_000
    page: int = 500

    @property
    def requests(self) -> Rate:
        return Rate(self.requests_at_once, self.requests_a_minute)
