"""What the droplet and a running container use, as the contract's numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shim.contract import errors
from shim.contract.messages import Disk, Memory, Metrics, Stats
from shim.spec import NEVER

_NANOSECONDS = 1_000_000_000


def measure_droplet(engine_version: str, engine_root: str, directory: Path) -> Metrics:
    """Raises OSError.

    `directory` is on the same disk as `engine_root`, which the shim itself cannot see; its own volume is. Memory is
    read from /proc, which Docker does not hide from a container.
    """
    load = os.getloadavg()[0] * 100 / (os.cpu_count() or 1)
    disk = os.statvfs(directory)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return Metrics(engine_version, round(load, 1), _memory(), Disk(engine_root, total, used, free))


def container_stats(measured: dict[str, Any]) -> Stats:
    """From the engine's `GET /containers/{id}/stats`, which measures twice, a second apart.

    Source: https://docs.docker.com/reference/api/engine/, "Get container stats based on resource usage".
    Raises Transient for the zeros that the engine answers where it could not measure.
    """
    if measured["read"] == NEVER:
        raise errors.Transient("The engine measured nothing. Try again later.")
    memory, networks = measured["memory_stats"], (measured.get("networks") or {}).values()
    # What the kernel can give back at once does not count as used: "total_" is cgroup 1's name for it.
    files = memory.get("stats", {})
    cache = files.get("total_inactive_file", files.get("inactive_file", 0))
    cpu, before = measured["cpu_stats"], measured["precpu_stats"]
    used = cpu["cpu_usage"]["total_usage"]
    passed = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    share = (used - before["cpu_usage"]["total_usage"]) / passed if passed > 0 else 0.0
    moved = measured.get("blkio_stats", {}).get("io_service_bytes_recursive") or []
    disk = {way: sum(item["value"] for item in moved if item["op"].lower() == way) for way in ("read", "write")}
    return Stats(
        time=measured["read"],
        cpu_percent=round(share * 100 * cpu.get("online_cpus", 1), 2),
        cpu_seconds=used / _NANOSECONDS,
        memory_used_bytes=max(0, memory.get("usage", 0) - cache),
        memory_limit_bytes=memory.get("limit", 0),
        pids=measured.get("pids_stats", {}).get("current", 0),
        network_received_bytes=sum(network["rx_bytes"] for network in networks),
        network_sent_bytes=sum(network["tx_bytes"] for network in networks),
        disk_read_bytes=disk["read"],
        disk_written_bytes=disk["write"],
    )


def _memory() -> Memory:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    return Memory(kib["MemTotal"], kib["Active"], kib["MemFree"], kib["MemTotal"] - kib["MemAvailable"])
