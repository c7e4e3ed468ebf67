"""How much an account may have: instances, and memory by their limits. Its toolboxes are counted by `standing`.

Both are asked of Firestore as one aggregate, a read, and nothing is written to count them: deploys that run in the same
moment may together go beyond by what is on its way.
"""

from __future__ import annotations

from functions.domain.errors import QuotaExceeded
from functions.domain.spec import Spec, engine_limits
from functions.lifecycle.documents import INSTANCES, MEMORY
from functions.lifecycle.ports import Ports, Query


def require_quota(ports: Ports, account: str, spec: Spec, instead_of: Spec | None = None) -> None:
    """Raises QuotaExceeded where one more instance of `spec` is too many or too large, or `spec` for another one."""
    most, added = ports.limits.memory_mib << 20, engine_limits(spec).memory_bytes
    if instead_of:
        added -= engine_limits(instead_of).memory_bytes
        if added <= 0:
            return
    query = Query(INSTANCES, (("account", "==", account), ("deleted_at", "==", None)))
    count, memory = ports.store.total(query, MEMORY)
    if instead_of is None and count >= ports.limits.instances:
        raise QuotaExceeded(f"the account has {count} instances, and may have no more")
    if memory + added > most:
        left = max(most - memory, 0) >> 20
        raise QuotaExceeded(f"{added >> 20} MiB of memory more are asked for and {left} MiB are left to this account")
