"""From the body of a create to what the engine is asked for: an allow-list, pure, nothing forwarded.

Bounds, and none but these fields: no privileged mode, no host namespaces, paths or devices. What cannot be said in
`messages.Create` cannot be had, and what it says is checked here, since the engine believes what it is told.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from shim.contract import errors, names
from shim.contract.messages import Create, Execute, HealthCheck, Port

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID",
)  # fmt: skip
MAX_COMMAND, MAX_ENVIRONMENT, MAX_PORTS, MAX_VOLUMES = 256, 1_000, 64, 32
MAX_IMAGE_CHARACTERS = 512
# Linux's MAX_ARG_STRLEN: exec fails with a longer argument or NAME=value.
MAX_STRING_BYTES = 131_071
# What a container cannot do without, and what a volume over it would break in ways that look like the engine's.
SYSTEM_PATHS = re.compile(r"/(proc|sys|dev)(/.*)?")


def check(spec: Create) -> None:
    """Raises Refused, naming the field."""
    name = names.container_name(spec.instance_id, spec.spec_generation)
    _must(names.CONTAINER_NAME.fullmatch(name), "instance_id and spec_generation", "do not make a container's name")
    check_image(spec.image)
    _must(spec.limits.memory_bytes in names.MEMORY_BYTES, "limits.memory_bytes", "is not between 16 MiB and 256 GiB")
    _must(spec.limits.nano_cpus in names.NANO_CPUS, "limits.nano_cpus", "is not between 0.01 and 64 cores")
    _must(spec.limits.pids in names.PIDS, "limits.pids", "is not between 16 and 4096")
    _must(spec.restart_policy in names.RESTART_POLICIES, "restart_policy", f"is none of {names.RESTART_POLICIES}")
    _command("command", spec.command)
    _environment(spec.environment)
    _must(len(spec.ports) <= MAX_PORTS, "ports", f"has more than {MAX_PORTS} entries")
    for port in spec.ports:
        _port(port)
    _unique("ports", ((port.host_port, port.protocol) for port in spec.ports))
    _must(len(spec.volumes) <= MAX_VOLUMES, "volumes", f"has more than {MAX_VOLUMES} entries")
    for volume in spec.volumes:
        _must(names.VOLUME_NAME.fullmatch(volume.name), "volumes.name", f"{volume.name[:64]!r} is no volume's name")
        usable = names.CONTAINER_PATH.fullmatch(volume.path) and not SYSTEM_PATHS.fullmatch(volume.path)
        _must(usable, "volumes.path", f"{volume.path[:200]!r} is no absolute path for a volume")
    _unique("volumes.name", (volume.name for volume in spec.volumes))
    _unique("volumes.path", (volume.path for volume in spec.volumes))
    if spec.health_check:
        _health_check(spec.health_check)


def check_image(image: str) -> None:
    """Raises Refused."""
    usable = len(image) <= MAX_IMAGE_CHARACTERS and names.IMAGE_REFERENCE.fullmatch(image)
    _must(usable, "image", f"{image[:200]!r} is no image reference")


def check_execution(asked: Execute) -> None:
    """Raises Refused, naming the field."""
    _must(asked.command and asked.command[0], "command", "is empty")
    _command("command", asked.command)
    _environment(asked.environment)
    directory = asked.working_directory
    _must(not directory or names.CONTAINER_PATH.fullmatch(directory), "working_directory", "is no absolute path")
    _must(
        asked.timeout in names.EXECUTION_SECONDS,
        "timeout",
        f"is not between 1 and {names.EXECUTION_SECONDS.stop - 1} seconds",
    )


def engine_config(spec: Create, labels: dict[str, str]) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`, from a checked `spec`. Labels of the image cannot win."""
    config: dict[str, Any] = {
        "Image": spec.image,
        "Env": [f"{key}={value}" for key, value in spec.environment.items()],
        "Labels": labels,
        "ExposedPorts": {f"{port.container_port}/{port.protocol}": {} for port in spec.ports},
        "HostConfig": _host_config(spec, labels),
    }
    if spec.command:
        config["Cmd"] = spec.command
    if check := spec.health_check:
        nanoseconds = {"Interval": check.interval, "Timeout": check.timeout, "StartPeriod": check.start_period}
        times = {key: seconds * 1_000_000_000 for key, seconds in nanoseconds.items()}
        config["Healthcheck"] = {"Test": ["CMD", *check.command], "Retries": check.retries, **times}
    return config


def _host_config(spec: Create, labels: dict[str, str]) -> dict[str, Any]:
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in spec.ports:
        binding = {"HostIp": port.host_ip, "HostPort": str(port.host_port)}
        bindings.setdefault(f"{port.container_port}/{port.protocol}", []).append(binding)
    mounts = [
        {
            "Type": "volume",
            "Source": f"{spec.instance_id}-{volume.name}",
            "Target": volume.path,
            "VolumeOptions": {"Labels": {key: labels[key] for key in (names.LABEL_TOOLBOX, names.LABEL_INSTANCE)}},
        }
        for volume in spec.volumes
    ]
    return {
        "NetworkMode": "bridge",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "Memory": spec.limits.memory_bytes,
        "MemorySwap": spec.limits.memory_bytes,
        "NanoCpus": spec.limits.nano_cpus,
        "PidsLimit": spec.limits.pids,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": spec.restart_policy},
        "Init": spec.init,
        "PortBindings": bindings,
        "Mounts": mounts,
    }


def _port(port: Port) -> None:
    _must(port.container_port in range(1, 65_536), "ports.container_port", "is not between 1 and 65535")
    held = f"is not between {names.HOST_PORTS.start} and {names.HOST_PORTS.stop - 1}"
    _must(port.host_port in names.HOST_PORTS, "ports.host_port", held)
    _must(port.protocol in ("tcp", "udp"), "ports.protocol", "is neither tcp nor udp")
    try:
        ipaddress.ip_address(port.host_ip)
    except ValueError:
        raise errors.Refused(f"ports.host_ip {port.host_ip[:64]!r} is no address") from None


def _health_check(check: HealthCheck) -> None:
    _must(check.command, "health_check.command", "is empty")
    _command("health_check.command", check.command)
    for field in ("interval", "timeout", "retries"):
        _must(getattr(check, field) in range(1, 3601), f"health_check.{field}", "is not between 1 and 3600")
    _must(check.start_period in range(3601), "health_check.start_period", "is not between 0 and 3600")


def _environment(environment: dict[str, str]) -> None:
    _must(len(environment) <= MAX_ENVIRONMENT, "environment", f"has more than {MAX_ENVIRONMENT} entries")
    for key, value in environment.items():
        _must(names.ENVIRONMENT_NAME.fullmatch(key), f"environment.{key[:128]}", "is no variable's name")
        _must(len(f"{key}={value}".encode()) <= MAX_STRING_BYTES, f"environment.{key}", "is too long")


def _command(field: str, command: list[str]) -> None:
    usable = len(command) <= MAX_COMMAND and all(len(item.encode()) <= MAX_STRING_BYTES for item in command)
    _must(usable, field, f"has more than {MAX_COMMAND} items, or one that is too long")


def _unique(field: str, values: Iterable[Hashable]) -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    _must(not repeated, field, f"names {repeated[:1]} twice")


def _must(held: object, field: str, otherwise: str) -> None:
    if not held:
        raise errors.Refused(f"{field} {otherwise}")
