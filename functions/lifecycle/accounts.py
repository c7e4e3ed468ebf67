"""What the backend says of an account, made so: on record first, then told to each of its toolboxes.

A toolbox that is told holds its instances stopped, or lets them be as they are desired, from its next look on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain import event
from functions.domain.account import Account, Standing
from functions.domain.caller import Caller
from functions.domain.errors import Conflict, Contended, Unavailable
from functions.domain.toolbox import Toolbox
from functions.lifecycle import registries
from functions.lifecycle.documents import Loaded, dump, load, recording_toolbox, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff
from functions.lifecycle.ports import Create, Ports, Ref, Replace, Task, Write
from functions.lifecycle.standing import ACCOUNTS, account_ref, in_use, written
from functions.lifecycle.toolbox_change import AskedOfToolbox, deprovision

log = logging.getLogger(__name__)

HEARD = "webhooks_heard"
# Longer than any sender goes on: an id that comes again within it is not taken for another.
HEARD_FOR = timedelta(days=30)
PAGE = 100


@dataclass(frozen=True, slots=True)
class Word:
    """The backend's word, in its message `id`: what an account has been since `at`."""

    id: str
    account: str
    standing: Standing
    at: datetime


def heard_ref(message_id: str) -> Ref:
    return Ref(HEARD, hashlib.sha256(message_id.encode()).hexdigest())


def heard(ports: Ports, message_id: str, account: str) -> Write:
    """To be committed with what the message says: refused where it was heard before."""
    now = ports.now()
    return Create(heard_ref(message_id), {"account": account, "time": now, "expire_at": now + HEARD_FOR})


def hear(ports: Ports, word: Word) -> None:
    """Put it on record, once, however often and in whatever order it comes; then it is nobody's to lose."""
    ref = account_ref(word.account)
    for attempt in range(ATTEMPTS):
        already, found = ports.store.get([heard_ref(word.id), ref])
        if already:
            return
        known = load(Account, found)
        writes = [heard(ports, word.id, word.account)]
        if known is None or not known.value.overtakes(word.standing, word.at):
            told = Account(word.account, word.standing, word.at, ports.now(), ports.new_id())
            writes.append(written(ports, known, told))
        try:
            ports.store.commit(writes)
        except Conflict:
            backoff(ports, attempt)
            continue
        _hand_on(ports, Task("account", ref.id))
        return
    raise Contended("others wrote of this account at every attempt; send it again")


def run(ports: Ports, account_id: str) -> None:
    """Tell every toolbox of the account how it stands. What fails is left due."""
    found = load(Account, ports.store.get([Ref(ACCOUNTS, account_id)])[0])
    if found is None or found.value.due_at is None:
        return
    account = found.value
    untold = [toolbox for toolbox in _toolboxes(ports, account.account) if not _tell(ports, toolbox, account)]
    if account.standing is Standing.DELETED:
        _forget(ports, Caller(account.account, event.BACKEND))
    if untold:
        return
    try:
        ports.store.commit([written(ports, found, replace(account, due_at=None))])
    except Conflict:
        log.info("there was further word of the account meanwhile", extra={"account": account.account})


def _tell(ports: Ports, found: Loaded[Toolbox], account: Account) -> bool:
    """Whether the toolbox knows now; where it is just being written by others, it is told the next time."""
    toolbox, since = found.value, account.since
    assert since is not None
    # Also by a worker that was at it before this one, and knew of something newer.
    if toolbox.standing_since is not None and toolbox.standing_since >= since:
        return True
    # Without an ETag its next look is at everything.
    stands = replace(toolbox, suspended=account.standing is not Standing.ACTIVE, standing_since=since, etag="")
    after = replace(stands, revision=ports.new_id(), updated_at=ports.now())
    told = event.account_told(after, account, event.BACKEND, ports.now())
    try:
        ports.store.commit([Replace(toolbox_ref(after.id), dump(after), found.version), recording_toolbox(after, told)])
    except Conflict:
        log.info("a toolbox is to be told later", extra={"toolbox": toolbox.id})
        return False
    _hand_on(ports, Task("toolbox", toolbox.id))
    return True


def _forget(ports: Ports, backend: Caller) -> None:
    """Nothing of it stays: each toolbox goes, and what opens its registries. Asked again, it is the same wish."""
    for toolbox in _toolboxes(ports, backend.account):
        deprovision(ports, AskedOfToolbox(backend, toolbox.value.id))
    for registry in registries.page(ports, backend):
        registries.delete(ports, backend, registry.host)


def _toolboxes(ports: Ports, account: str) -> Iterator[Loaded[Toolbox]]:
    query = in_use(account, PAGE)
    while True:
        page = [loaded for snapshot in ports.store.query(query) if (loaded := load(Toolbox, snapshot))]
        yield from page
        if len(page) < PAGE:
            return
        query = replace(query, after=(page[-1].value.created_at, page[-1].value.id))


def _hand_on(ports: Ports, task: Task) -> None:
    try:
        ports.queue.publish([task])
    except Unavailable:
        # The document says that it is due, or will be looked at anyhow: it costs time, nothing else.
        log.warning("handing on was not confirmed", extra={task.kind: task.id}, exc_info=True)
