"""A toolbox: one account's droplet, as it was asked for and as its shim last reported it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from shim.protocol import messages


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


@dataclass(frozen=True, slots=True)
class Toolbox:
    """`fingerprint` is the SHA-256 of the shim's certificate (DER) in hex: the one that the functions speak to.

    `last_heartbeat_at` is when the shim was truly heard. `contract` is what it said it speaks. `etag` stands for the
    engine's list in which nothing was left to look into. `strangers`: containers with our labels that no document
    expects, by when they were first seen. `tidied_at`: when every container's limits were last looked into and the
    images that no instance names were removed.
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
    address: str | None = None
    fingerprint: str | None = None
    engine_id: str | None = None
    shim_version: str | None = None
    contract: int | None = None
    metrics: messages.Metrics | None = None
    last_heartbeat_at: datetime | None = None
    error: str | None = None
    etag: str = ""
    strangers: dict[str, datetime] = field(default_factory=dict)
    tidied_at: datetime | None = None
    deprovisioned_at: datetime | None = None
    generation: int = 1
    observed_generation: int = 0
    revision: str = ""
