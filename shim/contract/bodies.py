"""The bodies of the contract: all that a command can ask for. What is not here cannot be asked for."""

from __future__ import annotations

from dataclasses import field

from shim.contract.message import Message


class Port(Message):
    container_port: int
    host_port: int
    protocol: str = "tcp"
    host_ip: str = "0.0.0.0"  # noqa: S104  published is what a port is for


class Volume(Message):
    """`name` is the caller's; on the droplet it is `{instance id}-{name}`."""

    name: str
    path: str


class HealthCheck(Message):
    """`command` is an argument list, never a shell's line. Times are in seconds."""

    command: list[str]
    interval: int = 30
    timeout: int = 10
    retries: int = 3
    start_period: int = 10


class Limits(Message):
    memory_bytes: int
    nano_cpus: int
    pids: int


class Create(Message):
    """The body of `POST /tools`: all that a container may have. What is not here cannot be asked for."""

    instance_id: str
    spec_generation: int
    image: str
    limits: Limits
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    ports: list[Port] = field(default_factory=list)
    volumes: list[Volume] = field(default_factory=list)
    restart_policy: str = "unless-stopped"
    health_check: HealthCheck | None = None
    init: bool = True


class Nothing(Message):
    """An empty body."""


class Stop(Message):
    """`timeout`: seconds between SIGTERM and SIGKILL."""

    timeout: int = 10


class Restart(Message):
    """Restarts only while the container's `started_at` is still this one, so that a repeat is no second restart."""

    started_at: str
    timeout: int = 10


class Credentials(Message):
    username: str
    password: str = field(repr=False)


class Pull(Message):
    image: str
    credentials: Credentials | None = None


class Request(Message):
    """One HTTP request to the container's own address. `timeout` in seconds, for the whole of it."""

    port: int
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    timeout: int = 10


class Prune(Message):
    """Remove every image but those that a container uses and those of these references."""

    keep: list[str]


class Execute(Message):
    """`command` is an argument list, never a shell's line. `timeout` in seconds; "" is the image's own directory."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    working_directory: str = ""
    stdin: str = field(default="", repr=False)
    timeout: int = 30


class Save(Message):
    """Where a volume's tar goes: presigned URLs to PUT, one for each part in order; all but the last are as large."""

    part_bytes: int
    parts: list[str]


class Load(Message):
    """Where a volume's tar comes from: presigned URLs to GET, one after the other; and what it must prove to be."""

    parts: list[str]
    size_bytes: int
    sha256: str


class Upgrade(Message):
    """`image`: by digest, of the repository that cloud-init named; pulled before."""

    image: str
