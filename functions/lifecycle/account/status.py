"""Apply a change of an account's status that the backend announces: suspended, resumed or deleted.

The change is recorded in the account's document first, in the commit that also records the message. It is then applied
to each toolbox by a task: a failure in the middle leaves `due_at` set, and the next sweep continues.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain.account.model import Account, AccountStatus, Caller
from functions.domain.errors import OF_ONE_DOCUMENT, Conflict
from functions.domain.event import BACKEND
from functions.domain.toolbox import event
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

RECEIVED = "webhook_messages"
# Longer than any sender retries, so that a repeated message is recognized as long as it can come.
RECEIVED_TTL = timedelta(days=30)
PAGE = 100


@dataclass(frozen=True, slots=True)
class AccountStatusChange:
    """The backend's message `id`: the account has had this status since `at`, by the backend's clock."""

    id: str
    account: str
    status: AccountStatus
    at: datetime


def deduplication_ref(message_id: str) -> Ref:
    """Where the deduplication record of a webhook message is."""
    return Ref(RECEIVED, hashlib.sha256(message_id.encode()).hexdigest())


def deduplication_write(deps: Dependencies, message_id: str, account: str) -> Write:
    """Return a write to commit together with the change: the commit is refused where the message was handled before."""
    now = deps.now()
    return Create(deduplication_ref(message_id), {"account": account, "time": now, "expire_at": now + RECEIVED_TTL})


def receive(deps: Dependencies, change: AccountStatusChange) -> None:
    """Record the change. Repeats and messages that arrive late change nothing. Raises Contended."""
    ref = account_ref(change.account)

    def attempt() -> None:
        already, found = deps.store.get([deduplication_ref(change.id), ref])
        if already:
            return
        known = decode(deps, Account, found)
        writes = [deduplication_write(deps, change.id, change.account)]
        if known is None or not known.value.supersedes(change.at):
            account = Account(change.account, change.status, change.at, deps.now(), deps.new_id())
            writes.append(account_write(deps, known, account))
        deps.store.commit(writes)
        publish_or_leave_to_sweep(deps, Task("account", ref.id))

    update_with_retry(deps, attempt, "The account is being changed by other requests. Send the message again.")


def apply(deps: Dependencies, account_id: str) -> None:
    """Apply the account's status to each of its toolboxes. The account stays due where that fails for one of them."""
    found = load(deps, Account, Ref(ACCOUNTS, account_id))
    if found is None or found.value.due_at is None:
        return
    account = found.value
    pending = [toolbox for toolbox in _toolboxes(deps, account.account) if not _try_to_apply(deps, toolbox, account)]
    if account.status is AccountStatus.DELETED and not _delete_all(deps, Caller(account.account, BACKEND)):
        return
    if pending:
        return
    try:
        deps.store.commit([account_write(deps, found, replace(account, due_at=None))])
    except Conflict:
        log.info("the account's status changed again in the meantime", extra={"account": account.account})


def _try_to_apply(deps: Dependencies, found: Loaded[Toolbox], account: Account) -> bool:
    """Apply the status to one toolbox as `_apply_to` does; one that cannot be saved does not stop the others."""
    try:
        return _apply_to(deps, found, account)
    except OF_ONE_DOCUMENT:
        log.exception("the account's status cannot be applied to a toolbox", extra={"toolbox": found.value.id})
        return False


def _apply_to(deps: Dependencies, found: Loaded[Toolbox], account: Account) -> bool:
    """Apply the status to one toolbox; return False where another worker is writing it, to try again later."""
    toolbox, since = found.value, account.since
    assert since is not None
    # Another worker has applied this change, or a newer one.
    if toolbox.account_status_since is not None and toolbox.account_status_since >= since:
        return True
    # Without the ETag the next inspection looks at every container, and stops or starts each.
    changed = replace(
        toolbox, suspended=account.status is not AccountStatus.ACTIVE, account_status_since=since, etag=""
    )
    after = stamp(deps, changed)
    applied = event.account_status_applied(after, account, BACKEND, deps.now())
    if not save(deps, after, found, [toolbox_event(deps, after, applied)]):
        log.info(
            "another worker is writing the toolbox; its account status is applied later", extra={"toolbox": toolbox.id}
        )
        return False
    publish_or_leave_to_sweep(deps, Task("toolbox", toolbox.id))
    return True


def _delete_all(deps: Dependencies, backend: Caller) -> bool:
    """Deprovision every toolbox and delete the registry credentials of a deleted account. A repeat does no harm.

    Return whether that succeeded for each toolbox.
    """
    complete = True
    for toolbox in _toolboxes(deps, backend.account):
        try:
            deprovision(deps, ToolboxRequest(backend, toolbox.value.id))
        except OF_ONE_DOCUMENT:
            log.exception("a toolbox of a deleted account stays", extra={"toolbox": toolbox.value.id})
            complete = False
    for registry in registries.page(deps, backend):
        registries.delete(deps, backend, registry.host)
    return complete


def _toolboxes(deps: Dependencies, account: str) -> Iterator[Loaded[Toolbox]]:
    return pages(deps, Toolbox, toolboxes_query(account, PAGE))
