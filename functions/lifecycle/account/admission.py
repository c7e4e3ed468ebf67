"""Admission: whether an account may create more, and whether its instances may run.

Quotas are counted by one aggregate query. A counter in a document of its own would be written by every deploy, and
could drift from what exists. The price is that deploys at the same moment can exceed a quota together.
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
