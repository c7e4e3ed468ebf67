"""One worker's time-limited right to act on one document, and the fence that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LENGTH = timedelta(seconds=30)
# A worker whose clock is behind may still believe in its lease: nobody takes over before this has passed too.
GRACE = timedelta(seconds=10)
# The shim refuses a token that lives longer, so a command's start-by time is never further ahead.
MAX_START_BY = timedelta(seconds=60)
START_BY_MARGIN = timedelta(seconds=10)
# By the shim's clock a command may begin that much later than by ours: it hears nobody whose clock is further off.
MAX_SKEW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Lease:
    holder: str
    ends_at: datetime


def acquire(holder: str, now: datetime) -> Lease:
    """`now` is read before the commit that takes it is sent: its length counts from there."""
    return Lease(holder, now + LENGTH)


def is_free(lease: Lease | None, now: datetime) -> bool:
    return lease is None or now >= lease.ends_at + GRACE


def start_by(lease: Lease, now: datetime) -> datetime:
    """The time after which the shim may begin nothing more that this lease covers."""
    return min(now + MAX_START_BY, lease.ends_at - START_BY_MARGIN)
