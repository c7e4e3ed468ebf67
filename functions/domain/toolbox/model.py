"""A toolbox: one account's droplet, as requested and as last observed, and the moves of its status.

The status is one word for desired and observed state together, because the frontend and the queries need one. Every
write of a toolbox checks that the table below allows the change of status.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from functions.domain.instance.model import Failure, IllegalMove, Reason
from functions.domain.lease import Lease
from functions.domain.toolbox.shim import DropletMetrics


class ToolboxStatus(StrEnum):
    """What the record of a toolbox says; see TOOLBOX_MOVES for what each means."""

    PENDING_PROVISION = "pending_provision"
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    UNRESPONSIVE = "unresponsive"
    ERROR_PROVISIONING = "error_provisioning"
    PENDING_DEPROVISION = "pending_deprovision"
    DEPROVISIONING = "deprovisioning"
    DEPROVISIONED = "deprovisioned"
    ERROR_DEPROVISIONING = "error_deprovisioning"


# In these the shim is queried; whether it answers moves the toolbox between the two.
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
    """The desired state: a droplet with a working shim, or no droplet."""

    PROVISIONED = "provisioned"
    DEPROVISIONED = "deprovisioned"


@dataclass(frozen=True, slots=True)
class CreateAttempt:
    """One create call to DigitalOcean. It is stored before the call is sent, so that no droplet is ever lost.

    `number` counts the calls over the toolbox's life and is part of the droplet's name. `token_hash` is the SHA-256 in
    hex of the token with which its shim may enrol until `expires_at`. `resolved` says that the outcome is known.
    """

    number: int
    sent_at: datetime
    token_hash: str
    expires_at: datetime
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class RetiredDroplet:
    """A droplet that is to be destroyed: after a rebuild, once the new one serves, or with its toolbox.

    `running` names the containers that are still to be stopped on it, None while they have not been listed.
    `destroyed_at` is when the API last accepted a destroy call.
    """

    droplet_id: str
    droplet_name: str | None = None
    address: str | None = None
    fingerprint: str | None = None
    running: list[str] | None = None
    destroyed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShimUpgrade:
    """A requested upgrade of the shim to `image`, by digest. `sent_at` is when the shim was told to replace itself."""

    image: str
    pulled: bool = False
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ToolboxHealth:
    """What a droplet used when its shim last answered."""

    metrics: DropletMetrics
    contract: int | None

    @property
    def engine_version(self) -> str:
        """The version of the Docker Engine on the droplet."""
        return self.metrics.engine_version


@dataclass(frozen=True, slots=True)
class Toolbox:
    """A toolbox document: what is desired of one droplet, and what was last observed of it.

    droplet_state         the API's value: new, active, off or archive
    fingerprint           SHA-256 in hex of the shim's certificate (DER), which the functions pin
    certificate           the enrolled certificate in PEM; None until the shim has enrolled
    served_at             when the present droplet's shim first answered a signed command
    engine_id             the Docker Engine's id; another id means that the containers are lost
    contract              the contract version that the shim speaks
    last_heartbeat_at     when the shim last answered
    etag                  the shim's ETag of a container list in which nothing was left to look at
    listed_at             when that list was requested
    orphans               containers with our labels that no document expects, by when they were first observed
    inspected_at          when the limits of all containers were last inspected
    attempt               the last create call
    retired               earlier droplets that are still to be destroyed
    has_firewall          None where that is not known
    needs_redeploy        the droplet is new, or about to be: the instances are to be deployed on it
    instances_ended       teardown: each instance is asked to end, and its post-mortem is stored
    reservations_freed    teardown: the instances are tombstones, and their names and ports are free
    failure               why a generation failed for good
    obstacle              why the last attempt failed for now; no attempt is made before `not_before`
    suspended             the account is suspended: nothing runs here, whatever is desired
    account_status_since  when the account's status changed to the one applied here; an older change is ignored
    revision              names the last commit, so that a worker recognizes its own after a lost answer
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
        """Whether the present generation was reached, or failed for good."""
        return self.observed_generation == self.generation

    @property
    def failure_reason(self) -> Reason | None:
        """Why the present generation failed for good, None where it did not."""
        return self.failure.reason if self.failure and self.failure.generation == self.generation else None

    @property
    def error(self) -> str | None:
        """What is wrong, in a sentence; None where nothing is."""
        reason = self.failure_reason or self.obstacle
        return reason.message if reason else None

    @property
    def health(self) -> ToolboxHealth | None:
        """None before its shim has sent metrics."""
        return ToolboxHealth(self.metrics, self.contract) if self.metrics else None


_S = ToolboxStatus
# From each status to those that may follow it; staying is always allowed.
#   pending_*     requested; no worker has started
#   *ing          a worker has started
#   active        the present droplet's shim has answered a signed command
#   unresponsive  it did not answer when it was last queried
#   error_*       failed until the account requests something else; a deprovisioning is retried nevertheless, since an
#                 account that pays for a droplet must get rid of it
# Deprovisioning can be requested at any time, and nothing leads back from it.
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
    """Check a change of status before it is written. Raises IllegalMove, which is always a bug."""
    if after is not before and after not in TOOLBOX_MOVES[before]:
        raise IllegalMove(f"A toolbox cannot go from {before} to {after}.")
