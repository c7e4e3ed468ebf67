"""The names, folders, ports and addresses of the local worlds.

The machine layer (engine, registry, images) exists once per machine. Above it are named worlds, each with its own
gateway, functions, store and droplets, so that tests never disturb the world in which a developer works.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/toolboxes")
RUN = Path("/run/toolboxes")

NETWORK = IPv4Network("172.30.0.0/24")
NETWORK_NAME = "toolboxes"
NETWORK_GATEWAY = NETWORK[1]
"""This machine's address on the droplets' network. A server that listens here has one URL for both."""
ADDRESSES = 100
"""The number of addresses that each world has for its droplets."""

PROJECT = "toolboxes-local"


@dataclass(frozen=True)
class World:
    """One world.

    Its ports follow `base_port`, its droplets' addresses start at `first_address`, and their ids at `first_droplet`,
    so that no two worlds have a droplet of the same name.
    """

    name: str
    base_port: int
    first_address: IPv4Address
    first_droplet: int

    @property
    def directory(self) -> Path:
        return STATE / "worlds" / self.name

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def gateway(self) -> str:
        """The URL of all functions."""
        return f"http://127.0.0.1:{self.base_port}"

    @property
    def firestore_port(self) -> int:
        """Where clients reach the Firestore emulator; it is forwarded to `emulator_port`."""
        return self.base_port + 20

    @property
    def emulator_port(self) -> int:
        return self.base_port + 25

    @property
    def pubsub_port(self) -> int:
        return self.base_port + 21

    @property
    def relay_port(self) -> int:
        return self.base_port + 22

    @property
    def digitalocean_port(self) -> int:
        return self.base_port + 23

    @property
    def droplets_port(self) -> int:
        """The TLS port at NETWORK_GATEWAY for the functions that droplets call."""
        return self.base_port + 24

    @property
    def droplets_gateway(self) -> str:
        return f"https://{NETWORK_GATEWAY}:{self.droplets_port}"


WORLDS = {
    world.name: world
    for world in (
        World("main", 8080, NETWORK[10], 400_000_000),
        World("tests", 18080, NETWORK[120], 500_000_000),
    )
}


def current() -> World:
    """The world that the environment variable TOOLBOXES_WORLD names. Raises SystemExit for an unknown name."""
    name = os.environ.get("TOOLBOXES_WORLD", "main")
    if name not in WORLDS:
        raise SystemExit(f"TOOLBOXES_WORLD is {name!r}; it can be {' or '.join(WORLDS)}.")
    return WORLDS[name]
