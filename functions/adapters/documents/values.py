"""The stored forms of values that several kinds of documents hold: containers, ports, reasons, leases, sealed secrets.

The stored container looks like the shim's report and is a type of its own: the report changes with the contract's
version, and a container that an older shim reported must stay readable.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from functions.domain.instance.container import Container, ContainerLimits, Port
from functions.domain.instance.model import Failure, Reason
from functions.domain.instance.spec import PullProgress
from functions.domain.lease import Lease
from functions.domain.secrets import Sealed
from functions.lifecycle.dependencies import Document


class ReasonMap(TypedDict):
    """A stable code and a sentence."""

    code: str
    message: str


class FailureMap(TypedDict):
    """Why a generation failed for good."""

    generation: int
    reason: ReasonMap


class LeaseMap(TypedDict):
    """Which worker holds the document, and until when."""

    holder: str
    ends_at: datetime


class SealedMap(TypedDict):
    """Sealed secrets: base64, apart from the names of the variables and of the key-encryption key."""

    names: list[str]
    key: str
    data_key: str
    values: str


def encode_reason(reason: Reason) -> ReasonMap:
    """Convert a reason to its stored form."""
    return {"code": reason.code, "message": reason.message}


def decode_reason(stored: ReasonMap) -> Reason:
    """Convert a reason from its stored form."""
    return Reason(stored["code"], stored["message"])


def encode_failure(failure: Failure) -> FailureMap:
    """Convert a failure to its stored form."""
    return {"generation": failure.generation, "reason": encode_reason(failure.reason)}


def decode_failure(stored: FailureMap) -> Failure:
    """Convert a failure from its stored form."""
    return Failure(stored["generation"], decode_reason(stored["reason"]))


def encode_lease(lease: Lease) -> LeaseMap:
    """Convert a lease to its stored form."""
    return {"holder": lease.holder, "ends_at": lease.ends_at}


def decode_lease(stored: LeaseMap) -> Lease:
    """Convert a lease from its stored form."""
    return Lease(stored["holder"], stored["ends_at"])


def encode_sealed(sealed: Sealed) -> SealedMap:
    """Convert sealed values to the stored form."""
    return {
        "names": list(sealed.names),
        "key": sealed.key,
        "data_key": sealed.data_key,
        "values": sealed.values,
    }


def decode_sealed(stored: SealedMap) -> Sealed:
    """Convert sealed values from the stored form."""
    return Sealed(list(stored["names"]), stored["key"], stored["data_key"], stored["values"])


def rename(stored: Document, names: dict[str, str]) -> Document:
    """Return a copy of a stored map with the keys in `names` renamed, for upgrades. A key that is absent is skipped."""
    return {names.get(key, key): value for key, value in stored.items()}


class PortMap(TypedDict):
    """A published port."""

    container_port: int
    host_port: int
    protocol: str
    host_ip: str


class LimitsMap(TypedDict):
    """A container's limits as the engine applies them."""

    memory_bytes: int
    nano_cpus: int
    pids: int


class ContainerMap(TypedDict):
    """Times are the engine's text (RFC 3339 with nanoseconds), "" for none; they are compared as text, never parsed."""

    id: str
    name: str
    instance_id: str
    spec_generation: int
    state: str
    health: str | None
    exit_code: int
    oom_killed: bool
    error: str
    started_at: str
    finished_at: str
    restart_count: int
    image: str
    image_digest: str
    ports: list[PortMap]
    environment_names: list[str]
    limits: LimitsMap
    endpoint_id: str


class ProgressMap(TypedDict):
    """How far a pull is."""

    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


def encode_ports(ports: list[Port]) -> list[PortMap]:
    """Convert ports to the stored form."""
    return [
        {
            "container_port": port.container_port,
            "host_port": port.host_port,
            "protocol": port.protocol,
            "host_ip": port.host_ip,
        }
        for port in ports
    ]


def decode_ports(stored: list[PortMap]) -> list[Port]:
    """Convert ports from the stored form."""
    return [Port(port["container_port"], port["host_port"], port["protocol"], port["host_ip"]) for port in stored]


def encode_container(container: Container) -> ContainerMap:
    """Convert a container to its stored form."""
    limits = container.limits
    return {
        "id": container.id,
        "name": container.name,
        "instance_id": container.instance_id,
        "spec_generation": container.spec_generation,
        "state": container.state,
        "health": container.health,
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "error": container.error,
        "started_at": container.started_at,
        "finished_at": container.finished_at,
        "restart_count": container.restart_count,
        "image": container.image,
        "image_digest": container.image_digest,
        "ports": encode_ports(container.ports),
        "environment_names": list(container.environment_names),
        "limits": {"memory_bytes": limits.memory_bytes, "nano_cpus": limits.nano_cpus, "pids": limits.pids},
        "endpoint_id": container.endpoint_id,
    }


def decode_container(stored: ContainerMap) -> Container:
    """Convert a container from its stored form."""
    limits = stored["limits"]
    return Container(
        id=stored["id"],
        name=stored["name"],
        instance_id=stored["instance_id"],
        spec_generation=stored["spec_generation"],
        state=stored["state"],
        health=stored["health"],
        exit_code=stored["exit_code"],
        oom_killed=stored["oom_killed"],
        error=stored["error"],
        started_at=stored["started_at"],
        finished_at=stored["finished_at"],
        restart_count=stored["restart_count"],
        image=stored["image"],
        image_digest=stored["image_digest"],
        ports=decode_ports(stored["ports"]),
        environment_names=list(stored["environment_names"]),
        limits=ContainerLimits(limits["memory_bytes"], limits["nano_cpus"], limits["pids"]),
        endpoint_id=stored["endpoint_id"],
    )


def encode_progress(progress: PullProgress) -> ProgressMap:
    """Convert the progress of a pull to its stored form."""
    return {
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "layers_done": progress.layers_done,
        "layers_total": progress.layers_total,
    }


def decode_progress(stored: ProgressMap) -> PullProgress:
    """Convert the progress of a pull from its stored form."""
    return PullProgress(stored["bytes_done"], stored["bytes_total"], stored["layers_done"], stored["layers_total"])
