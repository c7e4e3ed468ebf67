"""Whether an account may have more made for it, or run."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from functions.domain.account import Account, Standing
from functions.domain.errors import AccountNotActive, QuotaExceeded
from functions.domain.toolbox import Toolbox
from functions.lifecycle.documents import TOOLBOXES, Loaded, dump, load
from functions.lifecycle.ports import Create, Ports, Query, Ref, Replace, Write

ACCOUNTS = "accounts"


def account_ref(account: str) -> Ref:
    return Ref(ACCOUNTS, hashlib.sha256(account.encode()).hexdigest())


def admission(ports: Ports, account: str) -> Write:
    """To be committed together with a new toolbox: refused where another one, or word of the backend, came first.

    Raises AccountNotActive, QuotaExceeded.
    """
    known = load(Account, ports.store.get([account_ref(account)])[0])
    if known and known.value.standing is not Standing.ACTIVE:
        raise AccountNotActive(f"the account is {known.value.standing}")
    most = ports.limits.toolboxes
    if len(ports.store.query(in_use(account, most))) >= most:
        raise QuotaExceeded(f"the account has {most} toolboxes, and may have no more")
    return written(ports, known, known.value if known else Account(account))


def refuse_unless_active(toolbox: Toolbox) -> None:
    """Raises AccountNotActive. Stopping and deleting stay possible, and whatever only looks."""
    if toolbox.suspended:
        raise AccountNotActive("the account is suspended: nothing of it runs until it is resumed")


def in_use(account: str, limit: int) -> Query:
    """The account's toolboxes that are not deprovisioned, newest first."""
    where = (("account", "==", account), ("deprovisioned_at", "==", None))
    return Query(TOOLBOXES, where, "created_at", descending=True, limit=limit)


def written(ports: Ports, known: Loaded[Account] | None, account: Account) -> Write:
    """`account` over what was `known` of it; refused where others wrote of it meanwhile."""
    ref, document = account_ref(account.account), dump(replace(account, revision=ports.new_id()))
    return Replace(ref, document, known.version) if known else Create(ref, document)
