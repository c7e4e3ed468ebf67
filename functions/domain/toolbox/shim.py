"""A shim's report of itself, its droplet and the containers there.

These are the domain's own types; functions/adapters/toolbox_shim.py converts the shim's wire messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from functions.domain.instance.container import ListedContainer


@dataclass(frozen=True, slots=True)
class MemoryMetrics:
    """The droplet's memory, in bytes, as /proc/meminfo counts it."""

    total_bytes: int
    active_bytes: int
    free_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class DiskMetrics:
    """The file system that holds the engine's data, in bytes."""

    mount: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class DropletMetrics:
    """How loaded the droplet is.

    `cpu_load_percent` is the kernel's load average of the last minute for each core, so it can exceed 100.
    """

    engine_version: str
    cpu_load_percent: float
    memory: MemoryMetrics
    disk: DiskMetrics


@dataclass(frozen=True, slots=True)
class ShimStatus:
    """A shim's report.

    `complete` is False where the engine's list could not be read to its end: a container that the list lacks may then
    exist. `metrics`, `shim_image` and `started_at` are reported on request. `shim_image` is the image of the shim's own
    container, and `started_at` is when its process started, in seconds since 1970 by the droplet's clock.
    """

    version: str
    contract: int
    engine_id: str
    complete: bool
    containers: list[ListedContainer]
    metrics: DropletMetrics | None = None
    shim_image: str | None = None
    started_at: float | None = None
