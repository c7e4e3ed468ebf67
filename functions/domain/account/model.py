"""An account, as far as the backend has spoken of it: one that it never named is in good standing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AccountStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Account:
    """`since`: when the backend's fact happened. `due_at`: the toolboxes have not all been told of it yet.

    `revision` also changes with each toolbox that is made, so that no two are made on one count, or past a suspension.
    """

    account: str
    status: AccountStatus = AccountStatus.ACTIVE
    since: datetime | None = None
    due_at: datetime | None = None
    revision: str = ""

    def overtakes(self, standing: AccountStatus, at: datetime) -> bool:
        """Whether what stands on record is newer than that the account was `standing` `at` that time."""
        if self.status is AccountStatus.DELETED:
            return True
        return self.since is not None and at < self.since
