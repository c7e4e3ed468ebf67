"""What an account requests of one container, its image included.

A spec is kept in the account's own words (limits as "512m" and "0.5"), so that the record shows them; only the host
ports that the control plane allocated are added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from functions.domain.instance.container import ContainerConfig, ContainerLimits, HealthCheck, Port, Volume
from functions.domain.secrets import Sealed
from shim.contract import names


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """A login at a private registry."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull has come.

    The totals grow during a pull: a registry announces a layer's size only when it begins to send the layer.
    """

    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


@dataclass(frozen=True, slots=True)
class DropletImage:
    """An image on a droplet. `references` are its tags and digests; `used` says whether any container is made of it."""

    references: list[str]
    used: bool


def image_tag(image: str) -> str | None:
    """Return the tag in an image reference, None where it has none."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or None


def removable_references(images: Iterable[DropletImage], keep: Iterable[str]) -> list[str]:
    """Return the references by which unneeded images can be removed; `keep` are those that instances name.

    An image without a digest was not pulled, so this system cannot bring it back: it stays. One reference in `keep`
    keeps all references of the image.
    """
    needed = set(map(_canonical, keep))
    return [
        reference
        for image in images
        if not image.used and any("@" in name for name in image.references)
        if needed.isdisjoint(map(_canonical, image.references))
        for reference in image.references
    ]


def _canonical(reference: str) -> str:
    """Docker shortens `docker.io/library/nginx:latest` to `nginx`, and a digest makes the tag irrelevant."""
    name, _, digest = reference.partition("@")
    path, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    short = f"{path}{slash}{repository}".removeprefix("index.").removeprefix("docker.io/").removeprefix("library/")
    return f"{short}@{digest}" if digest else f"{short}:{tag or 'latest'}"


# The spec.

_MEMORY = re.compile(r"(?P<count>[1-9][0-9]{0,14})(?P<unit>[bkmg]?)", re.IGNORECASE)
_CORES = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?")
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """`memory` is in bytes or with Docker's unit k, m or g; `cpu` is in cores; `pids` counts processes and threads."""

    memory: str = "512m"
    cpu: str = "0.5"
    pids: int = 256


@dataclass(frozen=True, slots=True)
class Mcp:
    """Where in the container the MCP server answers, over streamable HTTP."""

    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Spec:
    """`allocated` are those of `ports` whose host port the control plane chose; the account named the others.

    `secrets` are the secret variables, encrypted; `environment` holds the others.
    """

    image: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    ports: list[Port] = field(default_factory=list)
    allocated: list[Port] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)
    limits: ResourceLimits = ResourceLimits()
    restart_policy: str = "unless-stopped"
    health_check: HealthCheck | None = None
    mcp: Mcp | None = None
    init: bool = True
    secrets: Sealed | None = None


def memory_bytes(text: str) -> int:
    """Parse an amount of memory in Docker's notation. Raises ValueError with a sentence for the caller."""
    match = _MEMORY.fullmatch(text)
    count = int(match["count"]) * _UNITS[match["unit"].lower()] if match else 0
    if count not in names.MEMORY_BYTES:
        raise ValueError(f"memory {text!r} is not an amount from 16m to 256g, such as 512m")
    return count


def nano_cpus(text: str) -> int:
    """Parse a number of cores into billionths of a core. Raises ValueError with a sentence for the caller."""
    count = round(float(text) * 1e9) if _CORES.fullmatch(text) else 0
    if count not in names.NANO_CPUS:
        raise ValueError(f"cpu {text!r} is not a number of cores from 0.01 to 64, such as 0.5")
    return count


def engine_limits(spec: Spec) -> ContainerLimits:
    """Return the limits of the spec as the engine counts them."""
    return ContainerLimits(memory_bytes(spec.limits.memory), nano_cpus(spec.limits.cpu), spec.limits.pids)


def container_config(instance_id: str, spec_generation: int, spec: Spec, secrets: Mapping[str, str]) -> ContainerConfig:
    """Return what to create the spec's container with; `secrets` are its secret variables, decrypted."""
    return ContainerConfig(
        instance_id=instance_id,
        spec_generation=spec_generation,
        image=spec.image,
        limits=engine_limits(spec),
        command=spec.command,
        environment={**spec.environment, **secrets},
        ports=spec.ports,
        volumes=spec.volumes,
        restart_policy=spec.restart_policy,
        health_check=spec.health_check,
        init=spec.init,
    )
