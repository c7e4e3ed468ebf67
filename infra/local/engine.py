"""The Docker Engine of the local world: always the project's own, never one that the machine had before.

It has its own socket, data folder, runtime folder and pid file. Nothing in its configuration names a checkout, so that
it is the same engine for every checkout on the machine.
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
DEFAULT_BRIDGE = "toolboxes1"
DEFAULT_BRIDGE_ADDRESS = "172.30.1.1/24"
IP = "/sbin/ip"
CLIENT = "/usr/bin/docker"
"""Debian's client, which is as old as the engine. A newer one that comes first on PATH may build differently."""
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def program() -> Program:
    """The engine as a supervised process."""
    words = [
        "/usr/sbin/dockerd",
        f"--host=unix://{SOCKET}",
        f"--pidfile={PIDFILE}",
        f"--data-root={DATA}",
        f"--exec-root={world.RUN / 'engine'}",
        f"--bridge={DEFAULT_BRIDGE}",
        f"--insecure-registry={world.NETWORK_GATEWAY}:5000",
        # The systemd driver would require that systemd started this process as a unit.
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--log-level=warn",
    ]
    return Program("engine", words, stop_seconds=30, directory=world.STATE)


def ensure_bridge() -> None:
    """Create the bridge of containers that name no network. `docker0` may belong to another engine."""
    if not _exists(DEFAULT_BRIDGE):
        command.run([IP, "link", "add", DEFAULT_BRIDGE, "type", "bridge"])
    command.run([IP, "address", "replace", DEFAULT_BRIDGE_ADDRESS, "dev", DEFAULT_BRIDGE])
    command.run([IP, "link", "set", DEFAULT_BRIDGE, "up"])


def unmount() -> None:
    """Remove the mounts below the data folder.

    An engine mounts the folder onto itself unless its mount is shared, and a killed engine leaves that mount behind.
    """
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([point for point in points if point.is_relative_to(DATA)]):
        command.run(["/bin/umount", point])


def remove_bridges() -> None:
    """Delete both bridges, which the engine leaves behind. The iptables rules that name them then match nothing."""
    for bridge in (DEFAULT_BRIDGE, DROPLETS_BRIDGE):
        if _exists(bridge):
            command.run([IP, "link", "delete", bridge])


def _exists(bridge: str) -> bool:
    """Whether the kernel has it. /sys may show another network namespace than the one that this process is in."""
    return bool(command.run([IP, "link", "show", "dev", bridge], statuses=(1,)))


def docker(*arguments: str | Path, seconds: float = 600) -> str:
    """Run one docker command against the project's engine and return its output. Raises command.Failed."""
    # BuildKit needs a plugin that Debian 12 does not package.
    environment = {"PATH": SYSTEM_PATH, "HOME": str(world.STATE), "DOCKER_BUILDKIT": "0"}
    return command.run([CLIENT, f"--host=unix://{SOCKET}", *arguments], seconds=seconds, environment=environment)


def inspect(kind: Literal["container", "image", "network"], name: str) -> dict[str, Any] | None:
    """The engine's description of an object, or None if there is no such object. Raises command.Failed."""
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


def process_id() -> str | None:
    """The process id of the running engine as text; None if no engine runs. It changes when the engine restarts."""
    try:
        return PIDFILE.read_text()
    except FileNotFoundError:
        return None


def ensure_network() -> None:
    """Create the droplets' network, in which this machine has the gateway address."""
    if inspect("network", world.NETWORK_NAME) is None:
        addresses = ["--subnet", str(world.NETWORK), "--gateway", str(world.NETWORK_GATEWAY)]
        bridge = ["--opt", f"com.docker.network.bridge.name={DROPLETS_BRIDGE}"]
        docker("network", "create", *addresses, *bridge, world.NETWORK_NAME)
