"""The Docker Engine that the local world runs on: always our own, never one that was here before.

It has its own socket, data, runtime directory and pidfile, so that another engine on the machine is
neither needed nor touched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from infra.local import command, world
from infra.local.processes import Program

SOCKET = world.RUN / "docker.sock"
PIDFILE = world.RUN / "docker.pid"
DATA = world.STATE / "engine"
DROPLETS_BRIDGE = "toolboxes0"
OWN_BRIDGE = "toolboxes1"
OWN_BRIDGE_ADDRESS = "172.30.1.1/24"
IP = "/sbin/ip"
CLIENT = "/usr/bin/docker"
"""Debian's, of the engine's own age. Another that comes earlier on PATH may build in another way."""


def program() -> Program:
    """The engine as a process to supervise."""
    words = [
        "/usr/sbin/dockerd",
        f"--host=unix://{SOCKET}",
        f"--pidfile={PIDFILE}",
        f"--data-root={DATA}",
        f"--exec-root={world.RUN / 'engine'}",
        f"--bridge={OWN_BRIDGE}",
        f"--insecure-registry={world.NETWORK_GATEWAY}:5000",
        # systemd's driver would need our processes to be units of its own.
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--log-level=warn",
    ]
    return Program("engine", words, stop_seconds=30)


def ensure_bridge() -> None:
    """The engine's own bridge for containers that name no network: `docker0` may be another engine's."""
    if not _exists(OWN_BRIDGE):
        command.run([IP, "link", "add", OWN_BRIDGE, "type", "bridge"])
    command.run([IP, "address", "replace", OWN_BRIDGE_ADDRESS, "dev", OWN_BRIDGE])
    command.run([IP, "link", "set", OWN_BRIDGE, "up"])


def unmount() -> None:
    """An engine binds its data onto itself where their mount is not shared, and one that was killed leaves it so."""
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([point for point in points if point.is_relative_to(DATA)]):
        command.run(["/bin/umount", point])


def remove_bridges() -> None:
    """The engine leaves them behind when it ends; rules that name them then match nothing."""
    for bridge in (OWN_BRIDGE, DROPLETS_BRIDGE):
        if _exists(bridge):
            command.run([IP, "link", "delete", bridge])


def _exists(bridge: str) -> bool:
    """Asked of the kernel: /sys may show another network namespace than the one this runs in."""
    return bool(command.run([IP, "link", "show", "dev", bridge], refusals=(1,)))


def docker(*arguments: str | Path, seconds: float = 600) -> str:
    """Runs one docker command at our engine and returns what it printed. Raises command.Failed."""
    # BuildKit needs a plugin that Debian 12 does not package.
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(world.STATE), "DOCKER_BUILDKIT": "0"}
    return command.run([CLIENT, f"--host=unix://{SOCKET}", *arguments], seconds=seconds, environment=environment)


def inspect(kind: Literal["container", "image", "network"], name: str) -> dict[str, Any] | None:
    """What the engine knows of it; None where it has no such thing."""
    try:
        found: list[dict[str, Any]] = json.loads(docker(kind, "inspect", name))
    except command.Failed as error:
        if "no such" in str(error).lower():
            return None
        raise
    return found[0]


def answers() -> bool:
    try:
        docker("version", "--format", "{{.Server.Version}}", seconds=10)
    except command.Failed:
        return False
    return True


def ensure_network() -> None:
    """The droplets' network, with this machine at its gateway address."""
    if inspect("network", world.NETWORK_NAME) is None:
        place = ["--subnet", str(world.NETWORK), "--gateway", str(world.NETWORK_GATEWAY)]
        bridge = ["--opt", f"com.docker.network.bridge.name={DROPLETS_BRIDGE}"]
        docker("network", "create", *place, *bridge, world.NETWORK_NAME)
