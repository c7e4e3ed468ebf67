"""The stored form of an instance (`account_tool_instances/{id}`) and of its rotation (`rotations/{id}`)."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.adapters.documents.spec import SpecMap, decode_spec, encode_spec, upgrade_spec_from_1
from functions.adapters.documents.values import (
    ContainerMap,
    FailureMap,
    LeaseMap,
    PortMap,
    ProgressMap,
    ReasonMap,
    SealedMap,
    decode_container,
    decode_failure,
    decode_lease,
    decode_ports,
    decode_progress,
    decode_reason,
    decode_sealed,
    encode_container,
    encode_failure,
    encode_lease,
    encode_ports,
    encode_progress,
    encode_reason,
    encode_sealed,
    rename,
)
from functions.domain.instance.model import (
    CatalogEntry,
    Desired,
    DesiredState,
    Instance,
    InstanceStatus,
    McpServer,
    Observed,
    PreviousVersion,
    RestartCount,
    Rotation,
)
from functions.domain.instance.spec import memory_bytes
from functions.lifecycle.dependencies import Document


class DesiredMap(TypedDict):
    """What the account requested."""

    state: str
    generation: int
    spec_generation: int
    reallocations: int
    restart_after: str | None


class PreviousVersionMap(TypedDict):
    """The version that an update replaces."""

    spec: SpecMap
    spec_generation: int


class RestartCountMap(TypedDict):
    """The engine's restart count at a time."""

    at: datetime
    count: int


class McpServerMap(TypedDict):
    """What the MCP probe found."""

    tools_count: int
    tools_hash: str
    checked_at: datetime
    endpoint_id: str


class ObservedMap(TypedDict):
    """What was last observed of the containers."""

    container: ContainerMap | None
    absent: bool
    at: datetime | None
    reachable: bool
    needs_inspection: bool
    in_flight_until: datetime | None
    image_missing: bool
    failure: FailureMap | None
    obstacle: ReasonMap | None
    generation: int
    progress: ProgressMap | None
    restarts: list[RestartCountMap]
    mcp: McpServerMap | None
    requested_exit: str
    post_mortem_of: str
    refused_ports: list[PortMap]
    previous: ContainerMap | None
    previous_needs_inspection: bool
    rollback_reason: ReasonMap | None


class CatalogEntryMap(TypedDict):
    """What the caller's catalogue says of the instance.

    Values that can be any JSON are stored as text, because a document cannot hold every shape of it.
    """

    tool_catalog_id: str | None
    base_config_override_json: str | None
    mcp_transport: str | None
    mcp_endpoint: str | None
    mcp_capabilities_json: str | None


class InstanceDocument(TypedDict):
    """Queries filter and sort by toolbox_id, account, created_at, updated_at, due_at, deleted_at and memory_bytes.

    `memory_bytes` repeats the spec's memory limit in bytes, because Firestore sums up numbers only and the spec keeps
    the limit as the caller wrote it ("512m"). It is written, and never read back.
    """

    id: str
    toolbox_id: str
    account: str
    name: str
    spec: SpecMap
    desired: DesiredMap
    created_at: datetime
    updated_at: datetime
    status: str
    observed: ObservedMap
    previous_version: PreviousVersionMap | None
    catalogue: CatalogEntryMap
    lease: LeaseMap | None
    due_at: datetime | None
    attempts: int
    revision: str
    deleted_at: datetime | None
    expire_at: datetime | None
    suspended: bool
    memory_bytes: int


class RotationDocument(TypedDict):
    """New values of secret variables that are not applied yet. The sweep queries `due_at`."""

    instance_id: str
    times: dict[str, datetime]
    waiting: SealedMap | None
    due_at: datetime | None
    revision: str
    expire_at: datetime


def encode_instance(instance: Instance) -> InstanceDocument:
    """Convert an instance to its document."""
    previous, lease = instance.previous_version, instance.lease
    return {
        "id": instance.id,
        "toolbox_id": instance.toolbox_id,
        "account": instance.account,
        "name": instance.name,
        "spec": encode_spec(instance.spec),
        "desired": _encode_desired(instance.desired),
        "created_at": instance.created_at,
        "updated_at": instance.updated_at,
        "status": instance.status.value,
        "observed": _encode_observed(instance.observed),
        "previous_version": (
            {"spec": encode_spec(previous.spec), "spec_generation": previous.spec_generation} if previous else None
        ),
        "catalogue": _encode_catalogue(instance.catalogue),
        "lease": encode_lease(lease) if lease else None,
        "due_at": instance.due_at,
        "attempts": instance.attempts,
        "revision": instance.revision,
        "deleted_at": instance.deleted_at,
        "expire_at": instance.expire_at,
        "suspended": instance.suspended,
        "memory_bytes": memory_bytes(instance.spec.limits.memory),
    }


def decode_instance(stored: InstanceDocument) -> Instance:
    """Convert a document to its instance. Raises KeyError, TypeError or ValueError where it is malformed."""
    previous, lease = stored["previous_version"], stored["lease"]
    return Instance(
        id=stored["id"],
        toolbox_id=stored["toolbox_id"],
        account=stored["account"],
        name=stored["name"],
        spec=decode_spec(stored["spec"]),
        desired=_decode_desired(stored["desired"]),
        created_at=stored["created_at"],
        updated_at=stored["updated_at"],
        status=InstanceStatus(stored["status"]),
        observed=_decode_observed(stored["observed"]),
        previous_version=(
            PreviousVersion(decode_spec(previous["spec"]), previous["spec_generation"]) if previous else None
        ),
        catalogue=_decode_catalogue(stored["catalogue"]),
        lease=decode_lease(lease) if lease else None,
        due_at=stored["due_at"],
        attempts=stored["attempts"],
        revision=stored["revision"],
        deleted_at=stored["deleted_at"],
        expire_at=stored["expire_at"],
        suspended=stored["suspended"],
    )


def encode_rotation(rotation: Rotation) -> RotationDocument:
    """Convert a rotation to its document."""
    return {
        "instance_id": rotation.instance_id,
        "times": dict(rotation.times),
        "waiting": encode_sealed(rotation.waiting) if rotation.waiting else None,
        "due_at": rotation.due_at,
        "revision": rotation.revision,
        "expire_at": rotation.expire_at,
    }


def decode_rotation(stored: RotationDocument) -> Rotation:
    """Convert a document to its rotation."""
    waiting = stored["waiting"]
    return Rotation(
        instance_id=stored["instance_id"],
        times=dict(stored["times"]),
        waiting=decode_sealed(waiting) if waiting else None,
        due_at=stored["due_at"],
        revision=stored["revision"],
        expire_at=stored["expire_at"],
    )


def upgrade_from_1(document: Document) -> Document:
    """Schema 2 renames fields, and has the same values."""
    document = rename(document, {"replacing": "previous_version"})
    previous = document["previous_version"]
    return document | {
        "spec": upgrade_spec_from_1(document["spec"]),
        "previous_version": previous and previous | {"spec": upgrade_spec_from_1(previous["spec"])},
        "desired": rename(document["desired"], {"redraws": "reallocations", "fresh_from": "restart_after"}),
        "observed": rename(
            document["observed"],
            {
                "gone": "absent",
                "uncertain": "needs_inspection",
                "may_begin_until": "in_flight_until",
                "trouble": "obstacle",
                "stopped": "requested_exit",
                "kept": "post_mortem_of",
                "taken": "refused_ports",
                "previous_uncertain": "previous_needs_inspection",
                "fell_back": "rollback_reason",
            },
        ),
    }


def _encode_desired(desired: Desired) -> DesiredMap:
    return {
        "state": desired.state.value,
        "generation": desired.generation,
        "spec_generation": desired.spec_generation,
        "reallocations": desired.reallocations,
        "restart_after": desired.restart_after,
    }


def _decode_desired(stored: DesiredMap) -> Desired:
    return Desired(
        state=DesiredState(stored["state"]),
        generation=stored["generation"],
        spec_generation=stored["spec_generation"],
        reallocations=stored["reallocations"],
        restart_after=stored["restart_after"],
    )


def _encode_observed(observed: Observed) -> ObservedMap:
    container, previous, mcp = observed.container, observed.previous, observed.mcp
    return {
        "container": encode_container(container) if container else None,
        "absent": observed.absent,
        "at": observed.at,
        "reachable": observed.reachable,
        "needs_inspection": observed.needs_inspection,
        "in_flight_until": observed.in_flight_until,
        "image_missing": observed.image_missing,
        "failure": encode_failure(observed.failure) if observed.failure else None,
        "obstacle": encode_reason(observed.obstacle) if observed.obstacle else None,
        "generation": observed.generation,
        "progress": encode_progress(observed.progress) if observed.progress else None,
        "restarts": [{"at": restart.at, "count": restart.count} for restart in observed.restarts],
        "mcp": _encode_mcp_server(mcp) if mcp else None,
        "requested_exit": observed.requested_exit,
        "post_mortem_of": observed.post_mortem_of,
        "refused_ports": encode_ports(observed.refused_ports),
        "previous": encode_container(previous) if previous else None,
        "previous_needs_inspection": observed.previous_needs_inspection,
        "rollback_reason": encode_reason(observed.rollback_reason) if observed.rollback_reason else None,
    }


def _decode_observed(stored: ObservedMap) -> Observed:
    container, previous, mcp = stored["container"], stored["previous"], stored["mcp"]
    failure, obstacle, rollback_reason = stored["failure"], stored["obstacle"], stored["rollback_reason"]
    progress = stored["progress"]
    return Observed(
        container=decode_container(container) if container else None,
        absent=stored["absent"],
        at=stored["at"],
        reachable=stored["reachable"],
        needs_inspection=stored["needs_inspection"],
        in_flight_until=stored["in_flight_until"],
        image_missing=stored["image_missing"],
        failure=decode_failure(failure) if failure else None,
        obstacle=decode_reason(obstacle) if obstacle else None,
        generation=stored["generation"],
        progress=decode_progress(progress) if progress else None,
        restarts=[RestartCount(restart["at"], restart["count"]) for restart in stored["restarts"]],
        mcp=_decode_mcp_server(mcp) if mcp else None,
        requested_exit=stored["requested_exit"],
        post_mortem_of=stored["post_mortem_of"],
        refused_ports=decode_ports(stored["refused_ports"]),
        previous=decode_container(previous) if previous else None,
        previous_needs_inspection=stored["previous_needs_inspection"],
        rollback_reason=decode_reason(rollback_reason) if rollback_reason else None,
    )


def _encode_mcp_server(mcp: McpServer) -> McpServerMap:
    return {
        "tools_count": mcp.tools_count,
        "tools_hash": mcp.tools_hash,
        "checked_at": mcp.checked_at,
        "endpoint_id": mcp.endpoint_id,
    }


def _decode_mcp_server(stored: McpServerMap) -> McpServer:
    return McpServer(stored["tools_count"], stored["tools_hash"], stored["checked_at"], stored["endpoint_id"])


def _encode_catalogue(entry: CatalogEntry) -> CatalogEntryMap:
    return {
        "tool_catalog_id": entry.tool_catalog_id,
        "base_config_override_json": entry.base_config_override_json,
        "mcp_transport": entry.mcp_transport,
        "mcp_endpoint": entry.mcp_endpoint,
        "mcp_capabilities_json": entry.mcp_capabilities_json,
    }


def _decode_catalogue(stored: CatalogEntryMap) -> CatalogEntry:
    return CatalogEntry(
        tool_catalog_id=stored["tool_catalog_id"],
        base_config_override_json=stored["base_config_override_json"],
        mcp_transport=stored["mcp_transport"],
        mcp_endpoint=stored["mcp_endpoint"],
        mcp_capabilities_json=stored["mcp_capabilities_json"],
    )
