"""`status_on_toolbox`: the one word for desired and observed together, and the only moves that it can make."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    PENDING_DEPLOY = "pending_deploy"
    DEPLOYING = "deploying"
    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR_INSTALL = "error_install"
    ERROR_RUNTIME = "error_runtime"
    DELETING = "deleting"


class IllegalMove(AssertionError):
    """A move that the table does not know: a bug, stopped before it is written."""


_ALIVE = frozenset(Status) - {Status.PENDING_DEPLOY}
# From each status to those that may follow it; staying is always possible. Whatever was seen can be gone a moment
# later, so the living ones reach each other; nothing is new twice, and nothing comes back from deleting.
MOVES: dict[Status, frozenset[Status]] = {
    Status.PENDING_DEPLOY: _ALIVE,
    Status.DEPLOYING: _ALIVE,
    Status.RUNNING: _ALIVE,
    Status.STARTING: _ALIVE,
    Status.STOPPING: _ALIVE,
    Status.STOPPED: _ALIVE,
    Status.ERROR_INSTALL: _ALIVE,
    Status.ERROR_RUNTIME: _ALIVE,
    Status.DELETING: frozenset(),
}


def check_move(before: Status, after: Status) -> None:
    """Raises IllegalMove."""
    if after is not before and after not in MOVES[before]:
        raise IllegalMove(f"{before} cannot become {after}")
