"""Admission: whether an account may create more, send more requests, and whether its instances may run.

Quotas are counted by one aggregate query. A counter in a document of its own would be written by every deploy, and
could drift from what exists. The price is that deploys at the same moment can exceed a quota together.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from functions.domain.account.model import Account, AccountStatus, Rate
from functions.domain.errors import AccountNotActive, Conflict, QuotaExceeded, TooManyRequests
from functions.domain.instance.spec import Spec, engine_limits
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Create, Dependencies, Document, Query, Ref, Replace, Write
from functions.lifecycle.repository import (
    INSTANCES,
    MEMORY,
    TOOLBOXES,
    Loaded,
    encode,
    load,
    overwrite,
    pause_before_retry,
)

ACCOUNTS = "accounts"


def account_ref(account: str) -> Ref:
    """Where an account's document is: under a hash, because an account's name may contain any character."""
    return Ref(ACCOUNTS, hashlib.sha256(account.encode()).hexdigest())


def admit_toolbox(deps: Dependencies, account: str) -> Write:
    """Return a write to commit together with a new toolbox.

    The commit is refused where the account got another toolbox or status in the meantime. Raises AccountNotActive,
    QuotaExceeded.
    """
    known = load(deps, Account, account_ref(account))
    if known and known.value.status is not AccountStatus.ACTIVE:
        raise AccountNotActive(f"The account is {known.value.status}, so it cannot get a toolbox.")
    quota = deps.limits.toolboxes
    if len(deps.store.query(toolboxes_query(account, quota))) >= quota:
        raise QuotaExceeded(f"The account has {quota} toolboxes, which is its quota. Deprovision one first.")
    return account_write(deps, known, known.value if known else Account(account))


def require_active(toolbox: Toolbox) -> None:
    """Refuse what would make an instance run while the account is suspended. Raises AccountNotActive."""
    if toolbox.suspended:
        raise AccountNotActive("The account is suspended: its instances do not run until it is resumed.")


def toolboxes_query(account: str, limit: int) -> Query:
    """The account's toolboxes that are not deprovisioned, newest first."""
    where = (("account", "==", account), ("deprovisioned_at", "==", None))
    return Query(TOOLBOXES, where, "created_at", descending=True, limit=limit)


def account_write(deps: Dependencies, known: Loaded[Account] | None, account: Account) -> Write:
    """Return a write of `account`; the commit is refused where the document has changed since `known` was read."""
    ref, document = account_ref(account.account), encode(deps, replace(account, revision=deps.new_id()))
    return overwrite(ref, document, known)


def require_quota(deps: Dependencies, account: str, spec: Spec, instead_of: Spec | None = None) -> None:
    """Check the quotas for a new instance of `spec`, or for `spec` instead of an existing one. Raises QuotaExceeded."""
    quota, added = deps.limits.memory_mib << 20, engine_limits(spec).memory_bytes
    if instead_of:
        added -= engine_limits(instead_of).memory_bytes
        if added <= 0:
            return
    query = Query(INSTANCES, (("account", "==", account), ("deleted_at", "==", None)))
    count, memory = deps.store.total(query, MEMORY)
    if instead_of is None and count >= deps.limits.instances:
        raise QuotaExceeded(
            f"The account has {count} instances, and its quota is {deps.limits.instances}. Delete one first."
        )
    if memory + added > quota:
        left = max(quota - memory, 0) >> 20
        raise QuotaExceeded(
            f"Not enough memory in the account's quota: {added >> 20} MiB more requested, {left} MiB left. Lower "
            "resourceLimits.memory or delete an instance."
        )


# Rate limits: within one process, and per account over all processes of all functions.

RATES = "rates"
RETENTION = timedelta(days=1)
# The keys that were used longest ago are forgotten first; a forgotten key has its full allowance.
MAX_KEYS = 10_000
# A process grants a quarter of an account's rate by itself. Beyond that it takes lots from the shared allowance, each a
# tenth of the rate.
OWN_PART, LOT_PART = 4, 10
ATTEMPTS = 3
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Rates:
    """A rate limit per key within this process: for public routes, and where an approximate limit is enough."""

    def __init__(self, rate: Rate, now: Callable[[], datetime]) -> None:
        self._rate, self._now = rate, now
        self._full_at: OrderedDict[str, datetime] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Count one request of `key`. Raises TooManyRequests."""
        wait = self.wait(key)
        if wait > timedelta(0):
            raise too_many_requests(wait)

    def wait(self, key: str) -> timedelta:
        """Count one request if it is allowed, and return zero or less; otherwise return how long to wait."""
        with self._lock:
            full_at, now = self._full_at.pop(key, LONG_AGO), self._now()
            wait = self._rate.wait(full_at, now)
            self._full_at[key] = full_at if wait > timedelta(0) else self._rate.spent(full_at, now)
            if len(self._full_at) > MAX_KEYS:
                self._full_at.popitem(last=False)
            return wait


@dataclass
class _Lot:
    """What is left of the lot that this process took of an account's shared allowance.

    Until `none_until` the shared allowance is empty, and is not asked for again.
    """

    left: int = 0
    none_until: datetime = LONG_AGO
    lock: threading.Lock = field(default_factory=threading.Lock)


class AccountRates:
    """The rate limit of each account over all processes of all functions.

    An account gets at most its rate, and a quarter of it more for each process that it reaches. A process grants that
    quarter without the store. Only an account that sends more has a document. Requests that are refused write nothing,
    so that a flood of requests is not a flood of writes.
    """

    def __init__(self, deps: Dependencies) -> None:
        self._deps, self._rate = deps, deps.limits.requests
        self._own = Rates(self._rate.share(OWN_PART), deps.now)
        self._lots: OrderedDict[str, _Lot] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, account: str) -> None:
        """Count one request. Raises TooManyRequests; Unavailable where the store is needed and does not answer."""
        if self._own.wait(account) <= timedelta(0):
            return
        with self._lock:
            lot = self._lots.pop(account, None) or _Lot()
            self._lots[account] = lot
            if len(self._lots) > MAX_KEYS:
                self._lots.popitem(last=False)
        # Concurrent requests of one account wait here, and then use the lot that the first one took.
        with lot.lock:
            if lot.left == 0:
                self._fill(account, lot)
            lot.left -= 1

    def _fill(self, account: str, lot: _Lot) -> None:
        if lot.none_until > self._deps.now():
            raise too_many_requests(lot.none_until - self._deps.now())
        ref, count = _ref(account), self._rate.share(LOT_PART).at_once
        for attempt in range(ATTEMPTS):
            [found] = self._deps.store.get([ref])
            full_at, now = found.data["full_at"] if found else LONG_AGO, self._deps.now()
            wait = self._rate.wait(full_at, now, count)
            if wait > timedelta(0):
                lot.none_until = now + wait
                raise too_many_requests(wait)
            document = _document(self._rate.spent(full_at, now, count))
            try:
                self._deps.store.commit([Replace(ref, document, found.version) if found else Create(ref, document)])
            except Conflict:
                pause_before_retry(self._deps, attempt)
                continue
            lot.left = count
            return
        raise too_many_requests(timedelta(seconds=1))


def too_many_requests(wait: timedelta) -> TooManyRequests:
    """The error for a request that may be sent again after `wait`."""
    seconds = max(1, math.ceil(wait.total_seconds()))
    return TooManyRequests(f"Too many requests. Try again in {seconds} s.", seconds)


def _ref(account: str) -> Ref:
    return Ref(RATES, hashlib.sha256(account.encode()).hexdigest())


def _document(full_at: datetime) -> Document:
    return {"full_at": full_at, "expire_at": full_at + RETENTION}
