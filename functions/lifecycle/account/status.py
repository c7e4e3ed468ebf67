"""What the backend says of an account: recorded first, then applied to each of its toolboxes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain import event
from functions.domain.account.caller import Caller
from functions.domain.account.model import Account, AccountStatus
from functions.domain.errors import Conflict
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account import registries
from functions.lifecycle.account.admission import ACCOUNTS, account_ref, account_write, toolboxes_query
from functions.lifecycle.dependencies import Create, Dependencies, Ref, Task, Write
from functions.lifecycle.repository import (
    Loaded,
    decode,
    load,
    pages,
    publish_or_leave_to_sweep,
    save,
    stamp,
    toolbox_event,
    update_with_retry,
)
from functions.lifecycle.toolbox.change import ToolboxRequest, deprovision

log = logging.getLogger(__name__)

RECEIVED = "webhooks_heard"
# Longer than any sender goes on: an id that comes again within it is not taken for another.
RECEIVED_TTL = timedelta(days=30)
PAGE = 100


@dataclass(frozen=True, slots=True)
class AccountStatusChange:
    """The backend's word, in its message `id`: what an account has been since `at`."""

    id: str
    account: str
    status: AccountStatus
    at: datetime


def deduplication_ref(message_id: str) -> Ref:
    return Ref(RECEIVED, hashlib.sha256(message_id.encode()).hexdigest())


def deduplication_write(deps: Dependencies, message_id: str, account: str) -> Write:
    """To be committed with what the message says: refused where it was heard before."""
    now = deps.now()
    return Create(deduplication_ref(message_id), {"account": account, "time": now, "expire_at": now + RECEIVED_TTL})


def receive(deps: Dependencies, word: AccountStatusChange) -> None:
    """Record the change, once, however often and in whatever order messages come; then it cannot be lost any more."""
    ref = account_ref(word.account)

    def attempt() -> None:
        already, found = deps.store.get([deduplication_ref(word.id), ref])
        if already:
            return
        known = decode(deps, Account, found)
        writes = [deduplication_write(deps, word.id, word.account)]
        if known is None or not known.value.overtakes(word.status, word.at):
            account = Account(word.account, word.status, word.at, deps.now(), deps.new_id())
            writes.append(account_write(deps, known, account))
        deps.store.commit(writes)
        publish_or_leave_to_sweep(deps, Task("account", ref.id))

    update_with_retry(deps, attempt, "this account is being changed by others; send the message again")


def apply(deps: Dependencies, account_id: str) -> None:
    """Tell every toolbox of the account how it stands. What fails is left due."""
    found = load(deps, Account, Ref(ACCOUNTS, account_id))
    if found is None or found.value.due_at is None:
        return
    account = found.value
    untold = [toolbox for toolbox in _toolboxes(deps, account.account) if not _tell(deps, toolbox, account)]
    if account.status is AccountStatus.DELETED:
        _forget(deps, Caller(account.account, event.BACKEND))
    if untold:
        return
    try:
        deps.store.commit([account_write(deps, found, replace(account, due_at=None))])
    except Conflict:
        log.info("there was further word of the account meanwhile", extra={"account": account.account})


def _tell(deps: Dependencies, found: Loaded[Toolbox], account: Account) -> bool:
    """Whether the toolbox knows now; where it is just being written by others, it is told the next time."""
    toolbox, since = found.value, account.since
    assert since is not None
    # Also by a worker that was at it before this one, and knew of something newer.
    if toolbox.account_status_since is not None and toolbox.account_status_since >= since:
        return True
    # Without an ETag its next look is at everything.
    stands = replace(toolbox, suspended=account.status is not AccountStatus.ACTIVE, account_status_since=since, etag="")
    after = stamp(deps, stands)
    applied = event.account_status_applied(after, account, event.BACKEND, deps.now())
    if not save(deps, after, found, [toolbox_event(deps, after, applied)]):
        log.info("the toolbox is being changed by others; it is tried again later", extra={"toolbox": toolbox.id})
        return False
    publish_or_leave_to_sweep(deps, Task("toolbox", toolbox.id))
    return True


def _forget(deps: Dependencies, backend: Caller) -> None:
    """Nothing of it stays: each toolbox goes, and what opens its registries. Asked again, it is the same wish."""
    for toolbox in _toolboxes(deps, backend.account):
        deprovision(deps, ToolboxRequest(backend, toolbox.value.id))
    for registry in registries.page(deps, backend):
        registries.delete(deps, backend, registry.host)


def _toolboxes(deps: Dependencies, account: str) -> Iterator[Loaded[Toolbox]]:
    return pages(deps, Toolbox, toolboxes_query(account, PAGE))
