"""The local image registry: Debian's docker-registry, at one address for this machine and for its droplets."""

from __future__ import annotations

from pathlib import Path

import requests

from infra.local import engine, world
from infra.local.processes import Program

ADDRESS = f"{world.NETWORK_GATEWAY}:5000"
"""The droplets' engines accept this address without TLS: images/droplet/Dockerfile."""
CONFIG = Path(__file__).with_name("registry.yml")


def program(config: Path) -> Program:
    """The registry as a supervised process. `config` is a copy of CONFIG outside of the checkout.

    It has no autostart, because its address exists only after the engine has created the droplets' network.
    """
    environment = {
        "REGISTRY_HTTP_ADDR": ADDRESS,
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(world.STATE / "registry"),
    }
    words = ["/usr/bin/docker-registry", "serve", str(config)]
    return Program("registry", words, environment, autostart=False, directory=world.STATE)


def answers() -> bool:
    try:
        return requests.get(f"http://{ADDRESS}/v2/", timeout=2).ok
    except requests.ConnectionError:
        return False


def push(reference: str) -> None:
    """Push the engine's image of this reference (`ADDRESS/name:tag`). Raises command.Failed."""
    engine.docker("push", reference)


def digest_reference(reference: str) -> str | None:
    """The same image as `ADDRESS/name@sha256:…`; None if it was not pushed."""
    image = engine.inspect("image", reference)
    repository = reference.rpartition(":")[0]
    return next((name for name in image["RepoDigests"] if name.startswith(f"{repository}@")), None) if image else None
