"""What the engine measured of a running container, as the contract's numbers. Pure.

Source: https://docs.docker.com/reference/api/engine/, "Get container stats based on resource usage".
"""

from __future__ import annotations

from typing import Any

from shim.container import NEVER
from shim.contract import errors
from shim.contract.messages import Stats

NANOSECONDS = 1_000_000_000


def measured(said: dict[str, Any]) -> Stats:
    """From the engine's `GET /containers/{id}/stats`, which measures twice, a second apart.

    Raises Transient for the zeros that the engine gives where it could not measure.
    """
    if said["read"] == NEVER:
        raise errors.Transient("the engine measured nothing")
    memory, networks = said["memory_stats"], (said.get("networks") or {}).values()
    # What the kernel would give back at once is not used: "total_" is cgroup 1's name for it.
    files = memory.get("stats", {})
    cache = files.get("total_inactive_file", files.get("inactive_file", 0))
    cpu, before = said["cpu_stats"], said["precpu_stats"]
    used = cpu["cpu_usage"]["total_usage"]
    passed = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    share = (used - before["cpu_usage"]["total_usage"]) / passed if passed > 0 else 0.0
    moved = said.get("blkio_stats", {}).get("io_service_bytes_recursive") or []
    disk = {way: sum(one["value"] for one in moved if one["op"].lower() == way) for way in ("read", "write")}
    return Stats(
        time=said["read"],
        cpu_percent=round(share * 100 * cpu.get("online_cpus", 1), 2),
        cpu_seconds=used / NANOSECONDS,
        memory_used_bytes=max(0, memory.get("usage", 0) - cache),
        memory_limit_bytes=memory.get("limit", 0),
        pids=said.get("pids_stats", {}).get("current", 0),
        network_received_bytes=sum(network["rx_bytes"] for network in networks),
        network_sent_bytes=sum(network["tx_bytes"] for network in networks),
        disk_read_bytes=disk["read"],
        disk_written_bytes=disk["write"],
    )
