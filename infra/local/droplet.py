"""A local droplet: a container that boots as a machine would, with systemd, cloud-init and an engine of its own."""

from __future__ import annotations

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
INSTALLED = "docker.io containerd runc iptables unattended-upgrades"
WORLD_LABEL = "toolboxes.world"
ADDRESS_LABEL = "toolboxes.address"
STOP_SECONDS = 30


@dataclass(frozen=True)
class Droplet:
    """One machine. Its disk lasts until `destroy`, its address is always the same."""

    world: World
    id: int
    address: IPv4Address

    @property
    def name(self) -> str:
        return f"droplet-{self.id}"

    def running(self) -> bool:
        container = engine.inspect("container", self.name)
        return bool(container and container["State"]["Running"])

    def exists(self) -> bool:
        return engine.inspect("container", self.name) is not None

    def create(self, *, plain: bool = False) -> None:
        """Makes it and starts its first boot, at which cloud-init asks the metadata service who it is.

        `plain` is without what user-data installs where it is missing.
        """
        engine.docker(
            "run", "--detach", "--name", self.name, "--hostname", self.name,
            "--label", f"{WORLD_LABEL}={self.world.name}", "--label", f"{ADDRESS_LABEL}={self.address}",
            "--network", world.NETWORK_NAME, "--ip", str(self.address),
            *_rights(),
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--volume", "/var/lib/docker",
            "--env", f"WITHOUT={INSTALLED if plain else ''}",
            images.DROPLET.reference,
        )  # fmt: skip

    def start(self) -> None:
        """Boots it again, after `stop` or after the engine ended."""
        engine.docker("start", self.name)

    def stop(self) -> None:
        engine.docker("stop", "--time", str(STOP_SECONDS), self.name)

    def cut_power(self) -> None:
        engine.docker("kill", self.name)

    def destroy(self) -> None:
        """Removes it with its disk; nothing where there is none."""
        if self.exists():
            engine.docker("rm", "--force", "--volumes", self.name)

    def run(self, *command: str, seconds: float = 60) -> str:
        """Runs a command on it as root and returns its output. Raises command.Failed."""
        return engine.docker("exec", self.name, *command, seconds=seconds)

    def process(self) -> int:
        """Its first process, as this machine numbers it. Raises LookupError where it does not run."""
        container = engine.inspect("container", self.name)
        if not container or not container["State"]["Pid"]:
            raise LookupError(f"{self.name} does not run")
        return int(container["State"]["Pid"])


def of(world: World) -> dict[Droplet, bool]:
    """All droplets that a world has, and whether each runs."""
    form = f'{{{{.Names}}}} {{{{.Label "{ADDRESS_LABEL}"}}}} {{{{.State}}}}'
    wanted = ["--filter", f"label={WORLD_LABEL}={world.name}", "--filter", f"label={ADDRESS_LABEL}"]
    lines = [line.split() for line in engine.docker("ps", "--all", "--format", form, *wanted).splitlines()]
    return {
        Droplet(world, int(name.removeprefix("droplet-")), IPv4Address(address)): state == "running"
        for name, address, state in lines
    }


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
