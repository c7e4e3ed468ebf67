"""The local registry, Debian's docker-registry, at one address for this machine and for the droplets on it."""

from __future__ import annotations

import requests

from infra.local import engine, world
from infra.local.processes import Program

# Droplets are told of it in images/droplet/Dockerfile.
ADDRESS = f"{world.NETWORK_GATEWAY}:5000"


def program() -> Program:
    """The registry as a process to supervise. Its address exists only once the engine has made the network."""
    environment = {
        "REGISTRY_HTTP_ADDR": ADDRESS,
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(world.STATE / "registry"),
    }
    config = world.CHECKOUT / "infra/local/registry.yml"
    return Program("registry", ["/usr/bin/docker-registry", "serve", str(config)], environment, autostart=False)


def answers() -> bool:
    try:
        return requests.get(f"http://{ADDRESS}/v2/", timeout=2).ok
    except requests.ConnectionError:
        return False


def push(reference: str) -> None:
    """Sends the engine's image of this reference (`ADDRESS/name:tag`)."""
    engine.docker("push", reference)


def by_digest(reference: str) -> str | None:
    """The same image named by its digest, which never means another; None where it was not pushed."""
    image = engine.inspect("image", reference)
    repository = reference.rpartition(":")[0]
    return next((name for name in image["RepoDigests"] if name.startswith(f"{repository}@")), None) if image else None
