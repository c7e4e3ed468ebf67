"""A toolbox: one account's droplet, as it was asked for and as its shim last reported it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from functions.domain.instance.model import Failure, IllegalMove, Reason
from functions.domain.lease import Lease
from functions.domain.toolbox.shim import DropletMetrics


class ToolboxStatus(StrEnum):
    PENDING_PROVISION = "pending_provision"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    UNRESPONSIVE = "unresponsive"
    ERROR_PROVISIONING = "error_provisioning"
    PENDING_DEPROVISION = "pending_deprovision"
    DEPROVISIONING = "deprovisioning"
    DEPROVISIONED = "deprovisioned"
    ERROR_DEPROVISIONING = "error_deprovisioning"


# Those whose shim may be asked: a word from it, or its silence, moves them between these two.
CONTACTED = frozenset({ToolboxStatus.ACTIVE, ToolboxStatus.UNRESPONSIVE})
LEAVING = frozenset(
    {
        ToolboxStatus.PENDING_DEPROVISION,
        ToolboxStatus.DEPROVISIONING,
        ToolboxStatus.DEPROVISIONED,
        ToolboxStatus.ERROR_DEPROVISIONING,
    }
)


class ToolboxState(StrEnum):
    """The desired state: a droplet that serves, or none."""

    PROVISIONED = "provisioned"
    DEPROVISIONED = "deprovisioned"


@dataclass(frozen=True, slots=True)
class CreateAttempt:
    """One call that makes a droplet, on record before it is sent.

    `number` counts them over the toolbox's life and is part of the droplet's name. `token_hash` is the SHA-256, in hex,
    of the token by which its shim may enrol until `expires_at`. `over`: what came of it is known.
    """

    number: int
    sent_at: datetime
    token_hash: str
    expires_at: datetime
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class RetiredDroplet:
    """A droplet that is to go: when another serves in its place, or with its toolbox.

    `running` names the containers still to be stopped on it, None where that is to be asked. `destroyed_at` is when
    the API last took the order to destroy it.
    """

    droplet_id: str
    droplet_name: str | None = None
    address: str | None = None
    fingerprint: str | None = None
    running: list[str] | None = None
    destroyed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShimUpgrade:
    """Another shim for the droplet: `image` by digest, once it is `pulled`; `sent_at` once the shim was told."""

    image: str
    pulled: bool = False
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Toolbox:
    """`fingerprint` is the SHA-256 of the shim's certificate (DER) in hex: the one that the functions speak to.

    `last_heartbeat_at` is when the shim was truly heard. `contract` is what it said it speaks. `etag` stands for the
    engine's list in which nothing was left to look into, and `listed_at` is when that was asked for. `strangers`:
    containers with our labels that no document expects, by when they were first seen. `inspected_at`: when the limits
    of all its containers were last looked at.

    certificate    the enrolled one, PEM; None until its shim has enrolled
    served_at      when the present droplet's shim first answered a signed command
    droplet_state  as the API last said
    failure        why a generation was given up
    trouble        the last attempt's passing obstacle; not to be met again before `not_before`
    farewell       leaving: each instance is asked to end, and what could be learned of it is kept
    ended          leaving: the instances are tombstones, their claims are free
    suspended      its account is: nothing on it is to run, whatever is desired
    account_status_since when the fact happened by which it is suspended or not; an older one is not told to it any more
    firewalled     whether the firewall is there, None where that is not known
    redeploy       a new droplet serves, or is about to: its instances are to be deployed on it
    """

    id: str
    account: str
    name: str
    status: ToolboxStatus
    region: str
    size: str
    image: str
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    droplet_id: str | None = None
    droplet_name: str | None = None
    droplet_state: str | None = None
    address: str | None = None
    fingerprint: str | None = None
    certificate: str | None = None
    served_at: datetime | None = None
    engine_id: str | None = None
    shim_version: str | None = None
    shim_image: str | None = None
    contract: int | None = None
    metrics: DropletMetrics | None = None
    last_heartbeat_at: datetime | None = None
    etag: str = ""
    listed_at: datetime | None = None
    orphans: dict[str, datetime] = field(default_factory=dict)
    inspected_at: datetime | None = None
    desired_state: ToolboxState = ToolboxState.PROVISIONED
    attempt: CreateAttempt | None = None
    retired: list[RetiredDroplet] = field(default_factory=list)
    upgrade: ShimUpgrade | None = None
    has_firewall: bool | None = None
    needs_redeploy: bool = False
    instances_ended: bool = False
    reservations_freed: bool = False
    failure: Failure | None = None
    obstacle: Reason | None = None
    not_before: datetime | None = None
    deprovisioned_at: datetime | None = None
    suspended: bool = False
    account_status_since: datetime | None = None
    generation: int = 1
    observed_generation: int = 0
    lease: Lease | None = None
    due_at: datetime | None = None
    attempts: int = 0
    revision: str = ""

    @property
    def settled(self) -> bool:
        return self.observed_generation == self.generation

    @property
    def failure_reason(self) -> Reason | None:
        """Why the present generation was given up, None where it was not."""
        return self.failure.reason if self.failure and self.failure.generation == self.generation else None

    @property
    def error(self) -> str | None:
        """What stands in the way, in a sentence."""
        reason = self.failure_reason or self.obstacle
        return reason.message if reason else None


# Every move that a toolbox's status can make, and who makes it.

_S = ToolboxStatus
# From each status to those that may follow it; staying is always possible.
#   pending_*       an account asked; no worker has begun
#   *ing            a worker has begun, and goes on until the other end is reached
#   active          the present droplet's shim has answered a signed command; unresponsive: not when it was asked last
#   error_*         given up until the account asks for something else; a deprovisioning is tried again all the same
# Deprovisioning can be asked for at any time, and nothing leads back from there.
TOOLBOX_MOVES: dict[ToolboxStatus, frozenset[ToolboxStatus]] = {
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


def check_toolbox_move(before: ToolboxStatus, after: ToolboxStatus) -> None:
    """Raises IllegalMove."""
    if after is not before and after not in TOOLBOX_MOVES[before]:
        raise IllegalMove(f"{before} cannot become {after}")
