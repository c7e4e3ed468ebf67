"""Every move that a toolbox's status can make, and who makes it."""

from __future__ import annotations

from functions.domain.status import IllegalMove
from functions.domain.toolbox import ToolboxStatus

_S = ToolboxStatus
# From each status to those that may follow it; staying is always possible.
#   pending_*       an account asked; no worker has begun
#   *ing            a worker has begun, and goes on until the other end is reached
#   active          the present droplet's shim has answered a signed command; unresponsive: not when it was asked last
#   error_*         given up until the account asks for something else; a deprovisioning is tried again all the same
# Deprovisioning can be asked for at any time, and nothing leads back from there.
MOVES: dict[ToolboxStatus, frozenset[ToolboxStatus]] = {
    _S.PENDING_PROVISION: frozenset({_S.PROVISIONING, _S.PENDING_DEPROVISION}),
    _S.PROVISIONING: frozenset({_S.ACTIVE, _S.ERROR_PROVISIONING, _S.PENDING_DEPROVISION}),
    _S.ACTIVE: frozenset({_S.UNRESPONSIVE, _S.PENDING_PROVISION, _S.PENDING_DEPROVISION}),
    _S.UNRESPONSIVE: frozenset({_S.ACTIVE, _S.PENDING_PROVISION, _S.PENDING_DEPROVISION}),
    _S.ERROR_PROVISIONING: frozenset({_S.PENDING_PROVISION, _S.PENDING_DEPROVISION}),
    _S.PENDING_DEPROVISION: frozenset({_S.DEPROVISIONING}),
    _S.DEPROVISIONING: frozenset({_S.DEPROVISIONED, _S.ERROR_DEPROVISIONING}),
    _S.ERROR_DEPROVISIONING: frozenset({_S.DEPROVISIONING}),
    _S.DEPROVISIONED: frozenset(),
}


def check_move(before: ToolboxStatus, after: ToolboxStatus) -> None:
    """Raises IllegalMove."""
    if after is not before and after not in MOVES[before]:
        raise IllegalMove(f"{before} cannot become {after}")
