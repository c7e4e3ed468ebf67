"""Between the engine's JSON and the contract's messages: what a container is created with, and what one looks like.

Pure. The configuration is an allow-list: nothing is forwarded, no privileged mode, no host namespaces, paths or
devices. A field that `messages.Create` does not have cannot be requested, and its bounds were checked as it was read.

A container is managed where it has our labels, this toolbox's id, and a name of our form that agrees with them.
"""

from __future__ import annotations

import re
from typing import Any

from shim.contract import names
from shim.contract.messages import Container, Create, Limits, Listed, Port

# With every capability dropped, chown, su and setresuid fail and usual entrypoints (nginx, postgres, redis) break.
CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
)
# Docker's time for "never".
NEVER = "0001-01-01T00:00:00Z"
MAX_ERROR_CHARACTERS = 4_000
# The list shows health only inside its text, e.g. "Up 5 minutes (health: starting)".
_HEALTH = re.compile(r"\((?:health: )?(starting|healthy|unhealthy)\)$")
_NANOSECONDS = 1_000_000_000

Json = dict[str, Any]


def engine_config(create: Create, labels: dict[str, str]) -> Json:
    """The body of the engine's `POST /containers/create`. Labels of the image cannot override `labels`."""
    config: Json = {
        "Image": create.image,
        "Env": [f"{key}={value}" for key, value in create.environment.items()],
        "Labels": labels,
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in create.ports},
        "HostConfig": _host_config(create, labels),
    }
    if create.command:
        config["Cmd"] = create.command
    if check := create.health_check:
        seconds = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period}
        times = {key: value * _NANOSECONDS for key, value in seconds.items()}
        config["Healthcheck"] = {"Test": ["CMD", *check.command], "Retries": check.retries, **times}
    return config


def container(found: Json, toolbox_id: str) -> Container | None:
    """From the engine's `GET /containers/{id}/json`; None where this toolbox does not manage it."""
    state, host, config = found["State"], found["HostConfig"], found["Config"]
    identity = _identity(found["Name"], config["Labels"], toolbox_id)
    if identity is None:
        return None
    instance_id, spec_generation = identity
    health = (state.get("Health") or {}).get("Status")
    return Container(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        instance_id=instance_id,
        spec_generation=spec_generation,
        state=state["Status"],
        # The last result of a health check outlives its container, and Docker says "none" where there is no check.
        health=health if state["Status"] == "running" and health != "none" else None,
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
        error=state["Error"][:MAX_ERROR_CHARACTERS],
        started_at=state["StartedAt"].replace(NEVER, ""),
        finished_at=state["FinishedAt"].replace(NEVER, ""),
        restart_count=found["RestartCount"],
        image=config["Image"],
        image_digest=config["Labels"].get(names.LABEL_IMAGE_DIGEST, ""),
        ports=_ports(host.get("PortBindings") or {}),
        environment_names=[entry.partition("=")[0] for entry in config["Env"] or []],
        limits=Limits(host["Memory"], host["NanoCpus"], host["PidsLimit"] or 0),
        endpoint_id=_endpoint_id(found["NetworkSettings"]),
    )


def listed(entry: Json, toolbox_id: str) -> Listed | None:
    """From one entry of the engine's `GET /containers/json`; None where this toolbox does not manage it."""
    name = entry["Names"][0] if entry.get("Names") else ""
    identity = _identity(name, entry["Labels"], toolbox_id)
    if identity is None:
        return None
    health = _HEALTH.search(entry["Status"])
    return Listed(
        id=entry["Id"],
        name=name.removeprefix("/"),
        instance_id=identity[0],
        spec_generation=identity[1],
        state=entry["State"],
        health=health[1] if health else None,
        endpoint_id=_endpoint_id(entry.get("NetworkSettings") or {}),
        memory_bytes=int(memory) if (memory := entry["Labels"].get(names.LABEL_MEMORY, "")).isdecimal() else 0,
    )


def address(found: Json) -> str:
    """The container's own IP address on any of its networks, from `inspect`; "" while it does not run."""
    networks = (found["NetworkSettings"].get("Networks") or {}).values()
    return next((network["IPAddress"] for network in networks if network["IPAddress"]), "")


def mount_point(found: Json, volume: str) -> str:
    """Where an engine's volume is mounted, from `inspect`; "" where it is not."""
    return next((mount["Destination"] for mount in found["Mounts"] if mount.get("Name") == volume), "")


def has_labels_of(entry: Json, toolbox_id: str, instance_id: str, spec_generation: int) -> bool:
    """Whether an entry of the list has exactly these labels, whatever its name is."""
    name = names.container_name(instance_id, spec_generation)
    return _identity(name, entry["Labels"], toolbox_id) is not None


def _host_config(create: Create, labels: dict[str, str]) -> Json:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in create.ports:
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(binding)
    mounts = [
        {
            "Type": "volume",
            "Source": f"{create.instance_id}-{volume.name}",
            "Target": volume.path,
            "VolumeOptions": {"Labels": {key: labels[key] for key in (names.LABEL_TOOLBOX, names.LABEL_INSTANCE)}},
        }
        for volume in create.volumes
    ]
    return {
        "NetworkMode": "bridge",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "Memory": create.limits.memory_bytes,
        "MemorySwap": create.limits.memory_bytes,
        "NanoCpus": create.limits.nano_cpus,
        "PidsLimit": create.limits.pids,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        # `unless-stopped` is the policy that a manual stop survives; `always` starts again with the engine.
        "RestartPolicy": {"Name": create.restart_policy},
        "Init": create.init,
        "PortBindings": bindings,
        "Mounts": mounts,
    }


def _identity(name: str, labels: dict[str, str] | None, toolbox_id: str) -> tuple[str, int] | None:
    """Instance id and spec generation, where the name and every label agree."""
    match = names.CONTAINER_NAME.fullmatch(name.removeprefix("/"))
    if not match:
        return None
    expected = {
        names.LABEL_TOOLBOX: toolbox_id,
        names.LABEL_INSTANCE: match["instance"],
        names.LABEL_SPEC_GENERATION: match["generation"],
    }
    return (match["instance"], int(match["generation"])) if expected.items() <= (labels or {}).items() else None


def _ports(bindings: dict[str, list[dict[str, str]] | None]) -> list[Port]:
    return [
        Port(int(inside.partition("/")[0]), int(outside["HostPort"]), inside.partition("/")[2], outside["HostIp"])
        for inside, outsides in bindings.items()
        for outside in outsides or []
    ]


def _endpoint_id(settings: Json) -> str:
    return next((network["EndpointID"] for network in (settings.get("Networks") or {}).values()), "")
