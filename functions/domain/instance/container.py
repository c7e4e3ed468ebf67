"""A container as the shim reports it, and what can be configured, read and run in one.

These are the domain's own types. The shim's wire messages and the stored documents look alike today, but each changes
for reasons of its own: messages with the contract's version, documents with their schema number. Adapters convert both
(functions/adapters/toolbox_shim.py, functions/adapters/documents), so that neither change reaches the other.

Times are Docker's RFC 3339 text with nanoseconds, which a datetime cannot hold: two starts within one microsecond must
stay distinguishable.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Docker's states in which a container has a process.
LIVE_STATES = frozenset({"running", "restarting", "paused"})


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container that is published on the droplet. `protocol` is tcp or udp."""

    container_port: int
    host_port: int
    protocol: str = "tcp"
    host_ip: str = "0.0.0.0"  # noqa: S104  a published port is meant to be reachable


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume and where it is mounted. `name` is the account's; on the droplet it is `{instance id}-{name}`."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A health check as Docker runs it. `command` is an argument list, never a shell line; times are in seconds."""

    command: list[str]
    interval: int = 30
    timeout: int = 10
    retries: int = 3
    start_period: int = 10


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """The limits that the engine enforces; 0 is none, which only an edit on the droplet can set.

    `nano_cpus` counts billionths of a core, `pids` processes and threads.
    """

    memory_bytes: int
    nano_cpus: int
    pids: int


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything that a container can be created with. An option that is missing here cannot be requested."""

    instance_id: str
    spec_generation: int
    image: str
    limits: ContainerLimits
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    ports: list[Port]
    volumes: list[Volume]
    restart_policy: str
    health_check: HealthCheck | None
    init: bool


@dataclass(frozen=True, slots=True)
class Container:
    """A container as last inspected.

    `state` is Docker's own value. `started_at` and `finished_at` are "" if it never started or never finished.
    `endpoint_id` names its network endpoint, which changes at every start, also at those by a restart policy.
    """

    id: str
    name: str
    instance_id: str
    spec_generation: int
    state: str
    health: str | None
    exit_code: int
    oom_killed: bool
    error: str
    started_at: str
    finished_at: str
    restart_count: int
    image: str
    image_digest: str
    ports: list[Port]
    environment_names: list[str]
    limits: ContainerLimits
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class ListedContainer:
    """A container as one entry of the engine's list, which shows less than an inspect.

    `memory_bytes` is the limit that the container was created with. `limits` are its present ones, None where the shim
    did not inspect it: the engine's list does not show them.
    """

    id: str
    name: str
    instance_id: str
    spec_generation: int
    state: str
    health: str | None
    endpoint_id: str
    memory_bytes: int = 0
    limits: ContainerLimits | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that the container wrote. `stream` is stdout or stderr."""

    time: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Logs:
    """Log lines, oldest first. `truncated`: older lines of the requested range exist and were left out."""

    lines: list[LogLine]
    truncated: bool


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """What a running container uses. 100 percent is one whole core; bytes are counted since the container's start."""

    time: str
    cpu_percent: float
    cpu_seconds: float
    memory_used_bytes: int
    memory_limit_bytes: int
    pids: int
    network_received_bytes: int
    network_sent_bytes: int
    disk_read_bytes: int
    disk_written_bytes: int


@dataclass(frozen=True, slots=True)
class ExecCommand:
    """A command to run in a container.

    `command` is an argument list, never a shell line. `working_directory` of "" is the image's own. `timeout` is in
    seconds.
    """

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    working_directory: str
    stdin: str = field(repr=False)
    timeout: int


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The result of a command, with the container as inspected afterwards.

    `exit_code` is None where the time ran out: the engine has no call that ends such a process, so it may still run.
    The streams are decoded as UTF-8 and cut off where `truncated`.
    """

    container: Container
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool
