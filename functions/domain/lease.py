"""A lease: one worker's right to act on one instance or toolbox for a limited time.

A lease is a field of the document rather than a lock in Firestore, because no transaction may span a call to a shim: it
can take minutes, and the worker can die in it. A lease ends by itself. What the dead worker may have sent is fenced by
the start-by time that every command carries: the shim begins nothing after it, and it is earlier than the lease's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# Long enough for a few shim calls, short enough that a dead worker delays its document by less than a minute.
LENGTH = timedelta(seconds=30)
# A worker whose clock is behind may believe that its lease still lasts. Others wait this much longer.
GRACE = timedelta(seconds=10)
# The shim refuses a token that is valid for longer, so a command's start-by time is never further ahead.
MAX_START_BY = timedelta(seconds=60)
# A command that starts at the last moment still needs some of the lease for its answer.
START_BY_MARGIN = timedelta(seconds=10)
# By the shim's clock, which may be behind ours, a command may start that much later. The shim refuses tokens of a
# control plane whose clock is further off.
MAX_SKEW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Lease:
    """Which worker holds the document, and until when."""

    holder: str
    ends_at: datetime


def acquire(holder: str, now: datetime) -> Lease:
    """A new lease. Read `now` before sending the commit that takes the lease, because its length counts from there."""
    return Lease(holder, now + LENGTH)


def is_free(lease: Lease | None, now: datetime) -> bool:
    """Whether another worker may take over."""
    return lease is None or now >= lease.ends_at + GRACE


def start_by(lease: Lease, now: datetime) -> datetime:
    """The fencing deadline of a command under this lease: the shim must not start it later."""
    return min(now + MAX_START_BY, lease.ends_at - START_BY_MARGIN)


def start_by_without_lease(now: datetime) -> datetime:
    """The deadline of a command that needs no lease, such as a read: its caller does not wait much longer."""
    return now + START_BY_MARGIN
