"""What the droplet itself reports: load, memory, disk. Read from /proc, which no container of Docker's hides."""

from __future__ import annotations

import os
from pathlib import Path

from shim.contract.messages import Disk, Memory, Metrics


def measure(engine_version: str, engine_root: str, directory: Path) -> Metrics:
    """Raises OSError.

    `directory` is any that lies on the same disk as `engine_root`, which the shim cannot see itself: its volume does.
    The load is the kernel's average over one minute for each CPU, in percent, and can exceed 100.
    """
    load = os.getloadavg()[0] * 100 / (os.cpu_count() or 1)
    disk = os.statvfs(directory)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return Metrics(engine_version, round(load, 1), _memory(), Disk(engine_root, total, used, free))


def _memory() -> Memory:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    return Memory(kib["MemTotal"], kib["Active"], kib["MemFree"], kib["MemTotal"] - kib["MemAvailable"])
