"""What the backend has announced about an account. An account that it never mentioned is active."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AccountStatus(StrEnum):
    """The status that the backend announced. Suspended: instances are stopped. Deleted: toolboxes are deprovisioned."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Account:
    """An account document.

    `since` is when the status changed, by the backend's clock. `due_at` is set until every toolbox has the status.
    `revision` changes with each new toolbox as well, so that two requests cannot both pass one count of toolboxes, nor
    one pass while the account is being suspended.
    """

    account: str
    status: AccountStatus = AccountStatus.ACTIVE
    since: datetime | None = None
    due_at: datetime | None = None
    revision: str = ""

    def supersedes(self, at: datetime) -> bool:
        """Whether a change of status at `at` is out of date. Messages arrive in any order; a deletion is final."""
        if self.status is AccountStatus.DELETED:
            return True
        return self.since is not None and at < self.since
