"""Admission: whether an account may have more made for it, and whether what it has may run.

Quotas are read from Firestore as one aggregate; nothing is written to count them. Deploys that run at the same moment
may therefore exceed a quota together, by as much as is in flight.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from functions.domain.account.model import Account, AccountStatus
from functions.domain.errors import AccountNotActive, QuotaExceeded
from functions.domain.instance.spec import Spec, engine_limits
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Query, Ref, Write
from functions.lifecycle.repository import INSTANCES, MEMORY, TOOLBOXES, Loaded, encode, load, overwrite

ACCOUNTS = "accounts"


def account_ref(account: str) -> Ref:
    return Ref(ACCOUNTS, hashlib.sha256(account.encode()).hexdigest())


def admit_toolbox(deps: Dependencies, account: str) -> Write:
    """To be committed together with a new toolbox: refused where another one, or word of the backend, came first.

    Raises AccountNotActive, QuotaExceeded.
    """
    known = load(deps, Account, account_ref(account))
    if known and known.value.status is not AccountStatus.ACTIVE:
        raise AccountNotActive(f"the account is {known.value.status}")
    most = deps.limits.toolboxes
    if len(deps.store.query(toolboxes_query(account, most))) >= most:
        raise QuotaExceeded(f"the account has {most} toolboxes, and may have no more")
    return account_write(deps, known, known.value if known else Account(account))


def require_active(toolbox: Toolbox) -> None:
    """Raises AccountNotActive. Stopping and deleting stay possible, and whatever only looks."""
    if toolbox.suspended:
        raise AccountNotActive("the account is suspended: nothing of it runs until it is resumed")


def toolboxes_query(account: str, limit: int) -> Query:
    """The account's toolboxes that are not deprovisioned, newest first."""
    where = (("account", "==", account), ("deprovisioned_at", "==", None))
    return Query(TOOLBOXES, where, "created_at", descending=True, limit=limit)


def account_write(deps: Dependencies, known: Loaded[Account] | None, account: Account) -> Write:
    """`account` over what was `known` of it; refused where others wrote of it meanwhile."""
    ref, document = account_ref(account.account), encode(deps, replace(account, revision=deps.new_id()))
    return overwrite(ref, document, known)


def require_quota(deps: Dependencies, account: str, spec: Spec, instead_of: Spec | None = None) -> None:
    """Raises QuotaExceeded where one more instance of `spec` is too many or too large, or `spec` for another one."""
    most, added = deps.limits.memory_mib << 20, engine_limits(spec).memory_bytes
    if instead_of:
        added -= engine_limits(instead_of).memory_bytes
        if added <= 0:
            return
    query = Query(INSTANCES, (("account", "==", account), ("deleted_at", "==", None)))
    count, memory = deps.store.total(query, MEMORY)
    if instead_of is None and count >= deps.limits.instances:
        raise QuotaExceeded(f"the account has {count} instances, and may have no more")
    if memory + added > most:
        left = max(most - memory, 0) >> 20
        raise QuotaExceeded(f"{added >> 20} MiB of memory more are asked for and {left} MiB are left to this account")
