"""An account: its status, who acts for it, its credentials for private registries, and its quotas and rate limit.

An account that the backend never mentioned is active.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from functions.domain.errors import Unauthorized
from functions.domain.secrets import Sealed


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


# The caller of a request, read from the verified claims of a token.

MAX_SUBJECT = 255

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    `account` owns what the caller creates; `subject` is recorded as the actor in events. They differ where somebody
    acts for an account, as the backend does. An `admin` sees what every account has, and creates for its own account.
    """

    account: str
    subject: str
    admin: bool = False

    def may_see(self, account: str) -> bool:
        """Whether the caller may see and change what `account` has."""
        return self.admin or account == self.account


@dataclass(frozen=True, slots=True)
class AdminClaim:
    """The claim that makes a caller an admin.

    `path` names a claim, or a claim within a claim (`app_metadata.role`). The claim must equal `value`, or
    be a list that contains it, or be true if `value` is "true".
    """

    path: str
    value: str

    def matches(self, claims: Claims) -> bool:
        """Whether a token with these claims is an admin's."""
        found: Any = claims
        for name in self.path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, bool):
            return found and self.value == "true"
        return self.value in found if isinstance(found, list) else bool(found == self.value)


def caller_from_claims(claims: Claims, admin: AdminClaim) -> Caller:
    """The caller that verified claims name: the account is the token's `sub`. Raises Unauthorized."""
    try:
        subject = valid_account(claims.get("sub"))
    except ValueError as error:
        raise Unauthorized(f"The token's `sub` is not an account: {error}.") from None
    return Caller(subject, subject, admin.matches(claims))


def valid_account(name: Any) -> str:
    """Return `name` if it can be an account's. Raises ValueError with a sentence."""
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_SUBJECT:
        raise ValueError(f"an account has 1 to {MAX_SUBJECT} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError("an account contains no control characters, so that it can be logged")
    return name


# An account's credentials for a private container registry, and which registry an image is pulled from.

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*(:[1-9][0-9]{{0,4}})?")
DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Registry:
    """Credentials for `host`, written as in image references, with a port where it has one. `password` is sealed."""

    account: str
    host: str
    username: str
    password: Sealed
    created_at: datetime
    updated_at: datetime


def is_host(text: str) -> bool:
    """Whether credentials can be stored for `text`: a host in lower case with a dot or a port, or localhost."""
    name, _, port = text.partition(":")
    names_host = "." in name or bool(port) or name == "localhost"
    return names_host and len(text) <= 255 and HOST.fullmatch(text) is not None and int(port or 1) < 65536


def registry_host(image: str) -> str:
    """The host of the registry that an image is pulled from, in lower case.

    As `splitDockerDomain` of https://github.com/distribution/reference, which the engine follows, decides it: the part
    before the first slash is a host where it has a dot, a colon or an upper-case letter, or is localhost. Deciding
    otherwise would send Docker Hub's credentials to another registry.
    """
    first, slash, _ = image.partition("/")
    host = first.lower()
    if not slash or host == "index.docker.io":
        return DOCKER_HUB
    return host if "." in first or ":" in first or first != host or host == "localhost" else DOCKER_HUB


# The quotas of an account, and how often it may send requests.


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
