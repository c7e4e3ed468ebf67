"""A local droplet: a container that boots like a machine, with systemd, cloud-init and a Docker Engine of its own."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from infra.local import engine, images
from infra.local.world import NETWORK_NAME, World

# In the order of linux/capability.h, so that the index is the bit. Debian 12's engine does not know the later ones.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE"
    " NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT"
    " SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"
    " MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
).split()
INSTALLED_BY_USER_DATA = "docker.io containerd runc iptables unattended-upgrades"
WORLD_LABEL = "toolboxes.world"
ADDRESS_LABEL = "toolboxes.address"
STOP_SECONDS = 30


@dataclass(frozen=True)
class Droplet:
    """One droplet. Its disk exists until `destroy`; its address never changes. Methods raise command.Failed."""

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
        """Create the droplet and start its first boot, in which cloud-init reads its user-data.

        A `plain` droplet lacks the packages that the user-data installs, as DigitalOcean's Debian image does.
        """
        engine.docker(
            "run",
            "--detach",
            "--name",
            self.name,
            "--hostname",
            self.name,
            "--label",
            f"{WORLD_LABEL}={self.world.name}",
            "--label",
            f"{ADDRESS_LABEL}={self.address}",
            "--network",
            NETWORK_NAME,
            "--ip",
            str(self.address),
            *_privileges(),
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/run/lock",
            "--volume",
            "/var/lib/docker",
            "--env",
            f"WITHOUT={INSTALLED_BY_USER_DATA if plain else ''}",
            images.DROPLET.reference,
        )

    def start(self) -> None:
        """Boot the droplet again after `stop`, or after the Docker Engine stopped."""
        engine.docker("start", self.name)

    def stop(self) -> None:
        engine.docker("stop", "--time", str(STOP_SECONDS), self.name)

    def cut_power(self) -> None:
        engine.docker("kill", self.name)

    def destroy(self) -> None:
        """Remove the droplet and its disk. Does nothing if there is none."""
        if self.exists():
            engine.docker("rm", "--force", "--volumes", self.name)

    def run(self, *command: str, seconds: float = 60) -> str:
        """Run a command on the droplet as root and return its output."""
        return engine.docker("exec", self.name, *command, seconds=seconds)

    def process(self) -> int:
        """The process id of its init, as this machine numbers it. Raises LookupError if the droplet is not running."""
        container = engine.inspect("container", self.name)
        if not container or not container["State"]["Pid"]:
            raise LookupError(f"{self.name} is not running")
        return int(container["State"]["Pid"])


def droplets_of(world: World) -> dict[Droplet, bool]:
    """Every droplet of a world, and whether it runs. Raises command.Failed."""
    form = f'{{{{.Names}}}} {{{{.Label "{ADDRESS_LABEL}"}}}} {{{{.State}}}}'
    filters = ["--filter", f"label={WORLD_LABEL}={world.name}", "--filter", f"label={ADDRESS_LABEL}"]
    lines = [line.split() for line in engine.docker("ps", "--all", "--format", form, *filters).splitlines()]
    return {
        Droplet(world, int(name.removeprefix("droplet-")), IPv4Address(address)): state == "running"
        for name, address, state in lines
    }


def _privileges() -> list[str]:
    """The options of `docker run` that systemd and a nested engine need.

    `--privileged` would also hand over the machine's devices, and the engine refuses it on a machine that lacks one of
    the capabilities itself ("unable to apply caps"). Each capability that the machine has is therefore added by name.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    bounding_set = int(next(line.split()[1] for line in status if line.startswith("CapBnd")), 16)
    options = [f"--cap-add={name}" for bit, name in enumerate(CAPABILITIES) if bounding_set >> bit & 1]
    options += [f"--security-opt={name}=unconfined" for name in ("seccomp", "apparmor", "systempaths")]
    # Not `a *:* rwm`: after a crash, the kernel refuses that rule for what remains of the old cgroup (v1).
    options += ["--device-cgroup-rule=c *:* rwm", "--device-cgroup-rule=b *:* rwm"]
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return [*options, "--cgroupns=private"]
    return [*options, "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup"]
