"""What the engine's list and `inspect` say, as messages of the contract. Pure.

Managed means: our labels, this toolbox's id, and a name of our form that agrees with them. `None` is anything else.
"""

from __future__ import annotations

import re
from typing import Any

from shim.contract import names
from shim.contract.messages import Container, Limits, Listed, Port

NEVER = "0001-01-01T00:00:00Z"
# The list has health only inside its text, e.g. "Up 5 minutes (health: starting)".
_HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)$")


def inspected(said: dict[str, Any], toolbox_id: str) -> Container | None:
    """From the engine's `GET /containers/{id}/json`."""
    state, host, config = said["State"], said["HostConfig"], said["Config"]
    identity = _identity(said["Name"], config["Labels"], toolbox_id)
    if identity is None:
        return None
    instance_id, spec_generation = identity
    health = (state.get("Health") or {}).get("Status")
    return Container(
        id=said["Id"],
        name=said["Name"].removeprefix("/"),
        instance_id=instance_id,
        spec_generation=spec_generation,
        state=state["Status"],
        # The last word of a health check outlives its container, and Docker says "none" where there is no check.
        health=health if state["Status"] == "running" and health != "none" else None,
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
        error=state["Error"],
        started_at=state["StartedAt"].replace(NEVER, ""),
        finished_at=state["FinishedAt"].replace(NEVER, ""),
        restart_count=said["RestartCount"],
        image=config["Image"],
        image_digest=config["Labels"].get(names.LABEL_IMAGE_DIGEST, ""),
        ports=_ports(host.get("PortBindings") or {}),
        environment_names=[entry.partition("=")[0] for entry in config["Env"] or []],
        limits=Limits(host["Memory"], host["NanoCpus"], host["PidsLimit"] or 0),
        endpoint_id=_endpoint_id(said["NetworkSettings"]),
    )


def listed(said: dict[str, Any], toolbox_id: str) -> Listed | None:
    """From one entry of the engine's `GET /containers/json`."""
    name = said["Names"][0] if said.get("Names") else ""
    identity = _identity(name, said["Labels"], toolbox_id)
    if identity is None:
        return None
    health = _HEALTH.search(said["Status"])
    return Listed(
        id=said["Id"],
        name=name.removeprefix("/"),
        instance_id=identity[0],
        spec_generation=identity[1],
        state=said["State"],
        health=health[1] if health else None,
        endpoint_id=_endpoint_id(said.get("NetworkSettings") or {}),
        memory_bytes=int(memory) if (memory := said["Labels"].get(names.LABEL_MEMORY, "")).isdecimal() else 0,
    )


def address(said: dict[str, Any]) -> str:
    """The container's own IP, on any of its networks, from `inspect`; "" while it does not run."""
    networks = (said["NetworkSettings"].get("Networks") or {}).values()
    return next((network["IPAddress"] for network in networks if network["IPAddress"]), "")


def mount_point(said: dict[str, Any], volume: str) -> str:
    """Where an engine's volume is mounted, from `inspect`; "" where it is not."""
    return next((mount["Destination"] for mount in said["Mounts"] if mount.get("Name") == volume), "")


def is_of(said: dict[str, Any], toolbox_id: str, instance_id: str, spec_generation: int) -> bool:
    """Whether an entry of the list carries exactly these labels, whatever its name is."""
    name = names.container_name(instance_id, spec_generation)
    return _identity(name, said["Labels"], toolbox_id) is not None


def _identity(name: str, labels: dict[str, str] | None, toolbox_id: str) -> tuple[str, int] | None:
    """Instance id and spec generation, where the name and every label agree."""
    match = names.CONTAINER_NAME.fullmatch(name.removeprefix("/"))
    wanted = match and {
        names.LABEL_TOOLBOX: toolbox_id,
        names.LABEL_INSTANCE: match["instance"],
        names.LABEL_SPEC_GENERATION: match["generation"],
    }
    if not match or not wanted or not wanted.items() <= (labels or {}).items():
        return None
    return match["instance"], int(match["generation"])


def _ports(bindings: dict[str, list[dict[str, str]] | None]) -> list[Port]:
    return [
        Port(int(inside.partition("/")[0]), int(outside["HostPort"]), inside.partition("/")[2], outside["HostIp"])
        for inside, outsides in bindings.items()
        for outside in outsides or []
    ]


def _endpoint_id(settings: dict[str, Any]) -> str:
    return next((network["EndpointID"] for network in (settings.get("Networks") or {}).values()), "")
