"""How often somebody may ask: counted in this process, and for accounts over all processes.

rates/{hash(account)}   {full_at, expire_at}
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from functions.domain.account.limits import Rate
from functions.domain.errors import Conflict, TooManyRequests
from functions.lifecycle.dependencies import Create, Dependencies, Document, Ref, Replace
from functions.lifecycle.repository import pause_before_retry

RATES = "rates"
KEPT_FOR = timedelta(days=1)
# Those who asked longest ago are forgotten first, which only lets them ask again.
MAX_KNOWN = 10_000
# So many parts of an account's rate a process grants on its own word; so many a lot from the shared part has.
OWN_PART, LOT_PART = 4, 10
ATTEMPTS = 3
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Rates:
    """A rate for each key, held within this process: for what is public, or cheap enough."""

    def __init__(self, rate: Rate, now: Callable[[], datetime]) -> None:
        self._rate, self._now = rate, now
        self._full_at: OrderedDict[str, datetime] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> None:
        """Raises TooManyRequests."""
        wait = self.wait(key)
        if wait > timedelta(0):
            raise too_many_requests(wait)

    def wait(self, key: str) -> timedelta:
        """Takes one, where this is not more than nothing; else how long to wait for it."""
        with self._lock:
            full_at, now = self._full_at.pop(key, LONG_AGO), self._now()
            wait = self._rate.wait(full_at, now)
            self._full_at[key] = full_at if wait > timedelta(0) else self._rate.spent(full_at, now)
            if len(self._full_at) > MAX_KNOWN:
                self._full_at.popitem(last=False)
            return wait


@dataclass
class _Lot:
    """What this process has taken of an account's shared allowance, and until when there is none to be had."""

    left: int = 0
    none_until: datetime = LONG_AGO
    lock: threading.Lock = field(default_factory=threading.Lock)


class AccountRates:
    """Each account's rate over all processes of all functions.

    What holds: no account gets more than the rate, and a quarter of it more for each process that it reaches. A process
    grants that quarter by itself, at no cost; only who asks for more has a document, written once in so many requests
    as a lot has, by none but that account's own, and not at all by those that are refused.
    """

    def __init__(self, deps: Dependencies) -> None:
        self._deps, self._rate = deps, deps.limits.requests
        self._own = Rates(self._rate.share(OWN_PART), deps.now)
        self._lots: OrderedDict[str, _Lot] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, account: str) -> None:
        """Raises TooManyRequests; Unavailable where the store has to be asked and does not answer."""
        if self._own.wait(account) <= timedelta(0):
            return
        with self._lock:
            lot = self._lots.pop(account, None) or _Lot()
            self._lots[account] = lot
            if len(self._lots) > MAX_KNOWN:
                self._lots.popitem(last=False)
        # An account's own requests wait for each other here, and find the lot that the first has brought.
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
    seconds = max(1, math.ceil(wait.total_seconds()))
    return TooManyRequests(f"too many requests; ask again in {seconds} s", seconds)


def _ref(account: str) -> Ref:
    return Ref(RATES, hashlib.sha256(account.encode()).hexdigest())


def _document(full_at: datetime) -> Document:
    return {"full_at": full_at, "expire_at": full_at + KEPT_FOR}
