"""The stored form of a toolbox (`account_tool_environments/{id}`)."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.adapters.documents.values import (
    FailureMap,
    LeaseMap,
    ReasonMap,
    decode_failure,
    decode_lease,
    decode_reason,
    encode_failure,
    encode_lease,
    encode_reason,
    rename,
)
from functions.domain.toolbox.model import (
    CreateAttempt,
    RetiredDroplet,
    ShimUpgrade,
    Toolbox,
    ToolboxState,
    ToolboxStatus,
)
from functions.domain.toolbox.shim import DiskMetrics, DropletMetrics, MemoryMetrics
from functions.lifecycle.dependencies import Document


class CreateAttemptMap(TypedDict):
    """The last create call to DigitalOcean."""

    number: int
    sent_at: datetime
    token_hash: str
    expires_at: datetime
    resolved: bool


class RetiredDropletMap(TypedDict):
    """A droplet that is to be destroyed."""

    droplet_id: str
    droplet_name: str | None
    address: str | None
    fingerprint: str | None
    running: list[str] | None
    destroyed_at: datetime | None


class ShimUpgradeMap(TypedDict):
    """A requested upgrade of the shim."""

    image: str
    pulled: bool
    sent_at: datetime | None


class MemoryMap(TypedDict):
    """The droplet's memory."""

    total_bytes: int
    active_bytes: int
    free_bytes: int
    used_bytes: int


class DiskMap(TypedDict):
    """The file system of the engine's data."""

    mount: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


class MetricsMap(TypedDict):
    """How loaded the droplet is."""

    engine_version: str
    cpu_load_percent: float
    memory: MemoryMap
    disk: DiskMap


class ToolboxDocument(TypedDict):
    """Queries filter and sort by account, status, created_at, due_at and deprovisioned_at."""

    id: str
    account: str
    name: str
    status: str
    region: str
    size: str
    image: str
    created_at: datetime
    updated_at: datetime
    description: str | None
    droplet_id: str | None
    droplet_name: str | None
    droplet_state: str | None
    address: str | None
    fingerprint: str | None
    certificate: str | None
    served_at: datetime | None
    engine_id: str | None
    shim_version: str | None
    shim_image: str | None
    contract: int | None
    metrics: MetricsMap | None
    last_heartbeat_at: datetime | None
    etag: str
    listed_at: datetime | None
    orphans: dict[str, datetime]
    inspected_at: datetime | None
    desired_state: str
    attempt: CreateAttemptMap | None
    retired: list[RetiredDropletMap]
    upgrade: ShimUpgradeMap | None
    has_firewall: bool | None
    needs_redeploy: bool
    instances_ended: bool
    reservations_freed: bool
    failure: FailureMap | None
    obstacle: ReasonMap | None
    not_before: datetime | None
    deprovisioned_at: datetime | None
    suspended: bool
    account_status_since: datetime | None
    generation: int
    observed_generation: int
    lease: LeaseMap | None
    due_at: datetime | None
    attempts: int
    revision: str


def encode_toolbox(toolbox: Toolbox) -> ToolboxDocument:
    """Convert a toolbox to its document."""
    return {
        "id": toolbox.id,
        "account": toolbox.account,
        "name": toolbox.name,
        "status": toolbox.status.value,
        "region": toolbox.region,
        "size": toolbox.size,
        "image": toolbox.image,
        "created_at": toolbox.created_at,
        "updated_at": toolbox.updated_at,
        "description": toolbox.description,
        "droplet_id": toolbox.droplet_id,
        "droplet_name": toolbox.droplet_name,
        "droplet_state": toolbox.droplet_state,
        "address": toolbox.address,
        "fingerprint": toolbox.fingerprint,
        "certificate": toolbox.certificate,
        "served_at": toolbox.served_at,
        "engine_id": toolbox.engine_id,
        "shim_version": toolbox.shim_version,
        "shim_image": toolbox.shim_image,
        "contract": toolbox.contract,
        "metrics": _encode_metrics(toolbox.metrics) if toolbox.metrics else None,
        "last_heartbeat_at": toolbox.last_heartbeat_at,
        "etag": toolbox.etag,
        "listed_at": toolbox.listed_at,
        "orphans": dict(toolbox.orphans),
        "inspected_at": toolbox.inspected_at,
        "desired_state": toolbox.desired_state.value,
        "attempt": _encode_attempt(toolbox.attempt) if toolbox.attempt else None,
        "retired": [_encode_retired(droplet) for droplet in toolbox.retired],
        "upgrade": _encode_upgrade(toolbox.upgrade) if toolbox.upgrade else None,
        "has_firewall": toolbox.has_firewall,
        "needs_redeploy": toolbox.needs_redeploy,
        "instances_ended": toolbox.instances_ended,
        "reservations_freed": toolbox.reservations_freed,
        "failure": encode_failure(toolbox.failure) if toolbox.failure else None,
        "obstacle": encode_reason(toolbox.obstacle) if toolbox.obstacle else None,
        "not_before": toolbox.not_before,
        "deprovisioned_at": toolbox.deprovisioned_at,
        "suspended": toolbox.suspended,
        "account_status_since": toolbox.account_status_since,
        "generation": toolbox.generation,
        "observed_generation": toolbox.observed_generation,
        "lease": encode_lease(toolbox.lease) if toolbox.lease else None,
        "due_at": toolbox.due_at,
        "attempts": toolbox.attempts,
        "revision": toolbox.revision,
    }


def decode_toolbox(stored: ToolboxDocument) -> Toolbox:
    """Convert a document to its toolbox. Raises KeyError, TypeError or ValueError where it is malformed."""
    metrics, attempt, upgrade = stored["metrics"], stored["attempt"], stored["upgrade"]
    failure, obstacle, lease = stored["failure"], stored["obstacle"], stored["lease"]
    return Toolbox(
        id=stored["id"],
        account=stored["account"],
        name=stored["name"],
        status=ToolboxStatus(stored["status"]),
        region=stored["region"],
        size=stored["size"],
        image=stored["image"],
        created_at=stored["created_at"],
        updated_at=stored["updated_at"],
        description=stored["description"],
        droplet_id=stored["droplet_id"],
        droplet_name=stored["droplet_name"],
        droplet_state=stored["droplet_state"],
        address=stored["address"],
        fingerprint=stored["fingerprint"],
        certificate=stored["certificate"],
        served_at=stored["served_at"],
        engine_id=stored["engine_id"],
        shim_version=stored["shim_version"],
        shim_image=stored["shim_image"],
        contract=stored["contract"],
        metrics=_decode_metrics(metrics) if metrics else None,
        last_heartbeat_at=stored["last_heartbeat_at"],
        etag=stored["etag"],
        listed_at=stored["listed_at"],
        orphans=dict(stored["orphans"]),
        inspected_at=stored["inspected_at"],
        desired_state=ToolboxState(stored["desired_state"]),
        attempt=_decode_attempt(attempt) if attempt else None,
        retired=[_decode_retired(droplet) for droplet in stored["retired"]],
        upgrade=ShimUpgrade(upgrade["image"], upgrade["pulled"], upgrade["sent_at"]) if upgrade else None,
        has_firewall=stored["has_firewall"],
        needs_redeploy=stored["needs_redeploy"],
        instances_ended=stored["instances_ended"],
        reservations_freed=stored["reservations_freed"],
        failure=decode_failure(failure) if failure else None,
        obstacle=decode_reason(obstacle) if obstacle else None,
        not_before=stored["not_before"],
        deprovisioned_at=stored["deprovisioned_at"],
        suspended=stored["suspended"],
        account_status_since=stored["account_status_since"],
        generation=stored["generation"],
        observed_generation=stored["observed_generation"],
        lease=decode_lease(lease) if lease else None,
        due_at=stored["due_at"],
        attempts=stored["attempts"],
        revision=stored["revision"],
    )


def upgrade_from_1(document: Document) -> Document:
    """Schema 2 renames fields, and has the same values."""
    document = rename(
        document,
        {
            "wanted": "desired_state",
            "strangers": "orphans",
            "firewalled": "has_firewall",
            "redeploy": "needs_redeploy",
            "farewell": "instances_ended",
            "ended": "reservations_freed",
            "trouble": "obstacle",
            "standing_since": "account_status_since",
        },
    )
    attempt = document["attempt"]
    return document | {"attempt": attempt and rename(attempt, {"over": "resolved"})}


def _encode_metrics(metrics: DropletMetrics) -> MetricsMap:
    memory, disk = metrics.memory, metrics.disk
    return {
        "engine_version": metrics.engine_version,
        "cpu_load_percent": metrics.cpu_load_percent,
        "memory": {
            "total_bytes": memory.total_bytes,
            "active_bytes": memory.active_bytes,
            "free_bytes": memory.free_bytes,
            "used_bytes": memory.used_bytes,
        },
        "disk": {
            "mount": disk.mount,
            "total_bytes": disk.total_bytes,
            "used_bytes": disk.used_bytes,
            "free_bytes": disk.free_bytes,
        },
    }


def _decode_metrics(stored: MetricsMap) -> DropletMetrics:
    memory, disk = stored["memory"], stored["disk"]
    return DropletMetrics(
        engine_version=stored["engine_version"],
        cpu_load_percent=stored["cpu_load_percent"],
        memory=MemoryMetrics(
            total_bytes=memory["total_bytes"],
            active_bytes=memory["active_bytes"],
            free_bytes=memory["free_bytes"],
            used_bytes=memory["used_bytes"],
        ),
        disk=DiskMetrics(
            mount=disk["mount"],
            total_bytes=disk["total_bytes"],
            used_bytes=disk["used_bytes"],
            free_bytes=disk["free_bytes"],
        ),
    )


def _encode_attempt(attempt: CreateAttempt) -> CreateAttemptMap:
    return {
        "number": attempt.number,
        "sent_at": attempt.sent_at,
        "token_hash": attempt.token_hash,
        "expires_at": attempt.expires_at,
        "resolved": attempt.resolved,
    }


def _decode_attempt(stored: CreateAttemptMap) -> CreateAttempt:
    return CreateAttempt(
        stored["number"], stored["sent_at"], stored["token_hash"], stored["expires_at"], stored["resolved"]
    )


def _encode_retired(droplet: RetiredDroplet) -> RetiredDropletMap:
    return {
        "droplet_id": droplet.droplet_id,
        "droplet_name": droplet.droplet_name,
        "address": droplet.address,
        "fingerprint": droplet.fingerprint,
        "running": None if droplet.running is None else list(droplet.running),
        "destroyed_at": droplet.destroyed_at,
    }


def _decode_retired(stored: RetiredDropletMap) -> RetiredDroplet:
    running = stored["running"]
    return RetiredDroplet(
        droplet_id=stored["droplet_id"],
        droplet_name=stored["droplet_name"],
        address=stored["address"],
        fingerprint=stored["fingerprint"],
        running=None if running is None else list(running),
        destroyed_at=stored["destroyed_at"],
    )


def _encode_upgrade(upgrade: ShimUpgrade) -> ShimUpgradeMap:
    return {"image": upgrade.image, "pulled": upgrade.pulled, "sent_at": upgrade.sent_at}
