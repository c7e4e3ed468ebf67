"""A local droplet: a container that boots as a machine would, with systemd, cloud-init and an engine of its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from infra.local import engine, images, world
from infra.local.world import World

# In the kernel's order (linux/capability.h), so that place is bit. Later ones are unknown to Debian 12's engine.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE"
    " NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT"
    " SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
    " MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
).split()
WORLD_LABEL = "toolboxes.world"
STOP_SECONDS = 30


@dataclass(frozen=True)
class Droplet:
    """Droplet 1, 2, … of a world. Its disk lasts until `destroy`, its address is always the same."""

    world: World
    id: int

    @property
    def name(self) -> str:
        return f"{self.world.droplet_prefix}{self.id}"

    @property
    def address(self) -> IPv4Address:
        return self.world.droplet_address(self.id)

    @property
    def _seed(self) -> Path:
        return self.world.directory / "droplets" / self.name

    def running(self) -> bool:
        container = engine.inspect("container", self.name)
        return bool(container and container["State"]["Running"])

    def exists(self) -> bool:
        return engine.inspect("container", self.name) is not None

    def create(self, user_data: str) -> None:
        """Makes it and starts its first boot, at which cloud-init runs `user_data`."""
        self._write(user_data)
        engine.docker(
            "run", "--detach", "--name", self.name, "--hostname", self.name,
            "--label", f"{WORLD_LABEL}={self.world.name}",
            "--network", world.NETWORK_NAME, "--ip", str(self.address),
            *_rights(),
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", "/var/lib/docker",
            "--volume", f"{self._seed}:/var/lib/cloud/seed/nocloud:ro",
            images.DROPLET.reference,
        )  # fmt: skip

    def knows(self, user_data: str) -> bool:
        """Whether it was booted with exactly this."""
        file = self._seed / "meta-data"
        return file.exists() and file.read_text() == self._meta_data(user_data)

    def boot_with(self, user_data: str) -> None:
        """Boots it with other user-data: cloud-init runs anew, on the disk as it is."""
        # In this order a crash at any point is made good by doing it again, or by `start`.
        self.stop()
        self._write(user_data)
        self.start()

    def start(self) -> None:
        """Boots it again, after `stop` or after the engine ended."""
        engine.docker("start", self.name)

    def stop(self) -> None:
        engine.docker("stop", "--time", str(STOP_SECONDS), self.name)

    def reboot(self) -> None:
        engine.docker("restart", "--time", str(STOP_SECONDS), self.name)

    def destroy(self) -> None:
        """Removes it with its disk; nothing where there is none."""
        if self.exists():
            engine.docker("rm", "--force", "--volumes", self.name)

    def run(self, *command: str, seconds: float = 60) -> str:
        """Runs a command on it as root and returns its output. Raises command.Failed."""
        return engine.docker("exec", self.name, *command, seconds=seconds)

    def _write(self, user_data: str) -> None:
        self._seed.mkdir(parents=True, exist_ok=True)
        (self._seed / "user-data").write_text(user_data)
        (self._seed / "meta-data").write_text(self._meta_data(user_data))

    def _meta_data(self, user_data: str) -> str:
        """cloud-init takes another instance-id for another machine, on which it has not run yet."""
        identity = hashlib.sha256(user_data.encode()).hexdigest()[:16]
        return json.dumps({"instance-id": f"{self.name}-{identity}", "local-hostname": self.name})


def of(world: World) -> list[Droplet]:
    """All droplets that a world has, running or not."""
    label = f"label={WORLD_LABEL}={world.name}"
    names = engine.docker("ps", "--all", "--format", "{{.Names}}", "--filter", label).split()
    return [Droplet(world, int(name.removeprefix(world.droplet_prefix))) for name in names]


def _rights() -> list[str]:
    """What systemd and an engine need inside a container, but for the machine's devices.

    Not --privileged: the engine refuses that where this machine itself lacks a capability.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    held = int(next(line.split()[1] for line in status if line.startswith("CapBnd")), 16)
    rights = [f"--cap-add={name}" for bit, name in enumerate(CAPABILITIES) if held >> bit & 1]
    for open_door in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
        rights.append(f"--security-opt={open_door}")
    # Not `a *:* rwm`: after a crash the kernel refuses that for what is left of the old cgroup (v1).
    rights += ["--device-cgroup-rule=c *:* rwm", "--device-cgroup-rule=b *:* rwm"]
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [*rights, "--cgroupns=private"]
    return [*rights, "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup"]
