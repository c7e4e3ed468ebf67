"""The stored form of an instance's spec. It stands in an instance document twice while an update replaces a version."""

from __future__ import annotations

from typing import TypedDict

from functions.adapters.documents.values import (
    PortMap,
    SealedMap,
    decode_ports,
    decode_sealed,
    encode_ports,
    encode_sealed,
    rename,
)
from functions.domain.instance.container import HealthCheck, Volume
from functions.domain.instance.spec import Mcp, ResourceLimits, Spec
from functions.lifecycle.dependencies import Document


class ResourceLimitsMap(TypedDict):
    """As the caller wrote them: "512m", "0.5"."""

    memory: str
    cpu: str
    pids: int


class VolumeMap(TypedDict):
    """A volume and where it is mounted."""

    name: str
    path: str


class HealthCheckMap(TypedDict):
    """Times are in seconds."""

    command: list[str]
    interval: int
    timeout: int
    retries: int
    start_period: int


class McpMap(TypedDict):
    """Where in the container the MCP server answers."""

    port: int
    path: str


class SpecMap(TypedDict):
    """What the account requests of a container."""

    image: str
    command: list[str]
    environment: dict[str, str]
    ports: list[PortMap]
    allocated: list[PortMap]
    volumes: list[VolumeMap]
    limits: ResourceLimitsMap
    restart_policy: str
    health_check: HealthCheckMap | None
    mcp: McpMap | None
    init: bool
    secrets: SealedMap | None


def encode_spec(spec: Spec) -> SpecMap:
    """Convert a spec to its stored form."""
    limits, mcp, health_check = spec.limits, spec.mcp, spec.health_check
    return {
        "image": spec.image,
        "command": list(spec.command),
        "environment": dict(spec.environment),
        "ports": encode_ports(spec.ports),
        "allocated": encode_ports(spec.allocated),
        "volumes": [{"name": volume.name, "path": volume.path} for volume in spec.volumes],
        "limits": {"memory": limits.memory, "cpu": limits.cpu, "pids": limits.pids},
        "restart_policy": spec.restart_policy,
        "health_check": _encode_health_check(health_check) if health_check else None,
        "mcp": {"port": mcp.port, "path": mcp.path} if mcp else None,
        "init": spec.init,
        "secrets": encode_sealed(spec.secrets) if spec.secrets else None,
    }


def decode_spec(stored: SpecMap) -> Spec:
    """Convert a spec from its stored form."""
    limits, mcp, health_check, secrets = stored["limits"], stored["mcp"], stored["health_check"], stored["secrets"]
    return Spec(
        image=stored["image"],
        command=list(stored["command"]),
        environment=dict(stored["environment"]),
        ports=decode_ports(stored["ports"]),
        allocated=decode_ports(stored["allocated"]),
        volumes=[Volume(volume["name"], volume["path"]) for volume in stored["volumes"]],
        limits=ResourceLimits(limits["memory"], limits["cpu"], limits["pids"]),
        restart_policy=stored["restart_policy"],
        health_check=_decode_health_check(health_check) if health_check else None,
        mcp=Mcp(mcp["port"], mcp["path"]) if mcp else None,
        init=stored["init"],
        secrets=decode_sealed(secrets) if secrets else None,
    )


def upgrade_spec_from_1(stored: Document) -> Document:
    """Upgrade a spec of schema 1: it has another name for the allocated ports."""
    # Documents from before ports were allocated lack the field: every port in them was requested by its number.
    return rename({"drawn": [], **stored}, {"drawn": "allocated"})


def _encode_health_check(check: HealthCheck) -> HealthCheckMap:
    return {
        "command": list(check.command),
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "start_period": check.start_period,
    }


def _decode_health_check(stored: HealthCheckMap) -> HealthCheck:
    return HealthCheck(
        list(stored["command"]), stored["interval"], stored["timeout"], stored["retries"], stored["start_period"]
    )
