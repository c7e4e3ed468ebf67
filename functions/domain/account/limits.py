"""The quotas of an account, and how often it may send requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate limit: a burst of `at_once` requests, and `a_minute` requests in the long run.

    The generic cell rate algorithm (ITU-T I.371): the whole state is one time, when the allowance will be full again.
    A counter per time window would need two values, and lets a double burst pass at the windows' border.
    """

    at_once: int
    a_minute: int

    def spent(self, full_at: datetime, now: datetime, count: int = 1) -> datetime:
        """Return the new state: when the allowance is full again after `count` more requests."""
        return max(full_at, now) + timedelta(minutes=1) * count / self.a_minute

    def wait(self, full_at: datetime, now: datetime, count: int = 1) -> timedelta:
        """How long until `count` more requests are allowed; zero or negative where they are allowed now."""
        return self.spent(full_at, now, count) - now - timedelta(minutes=1) * self.at_once / self.a_minute

    def share(self, part: int) -> Rate:
        """The rate divided by `part`, and at least one request."""
        return Rate(max(1, self.at_once // part), max(1, self.a_minute // part))


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one account; the settings LIMIT_… override the defaults.

    `memory_mib` is the sum of the memory limits of all instances. `page` is the largest page of a list. `body_bytes` is
    the largest request body.
    """

    toolboxes: int = 10
    instances: int = 100
    memory_mib: int = 65_536
    requests_at_once: int = 60
    requests_a_minute: int = 300
    body_bytes: int = 1_000_000
    page: int = 500

    @property
    def requests(self) -> Rate:
        """The rate limit of an account's requests."""
        return Rate(self.requests_at_once, self.requests_a_minute)
