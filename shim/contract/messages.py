"""The messages of the contract, each with its bounds: what a command can carry, and what a shim can answer.

A field that is not here cannot be requested: there is no privileged mode, host path, device or host namespace.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import field
from typing import Annotated
from urllib.parse import urlsplit

from shim.contract import names
from shim.contract.wire import AtMost as AtMost
from shim.contract.wire import Malformed as Malformed
from shim.contract.wire import Matching, OneOf, Within
from shim.contract.wire import Message as Message
from shim.contract.wire import dump as dump
from shim.contract.wire import read as read
from shim.contract.wire import text as text

MAX_STREAM_BYTES = 500_000
MAX_LINE_CHARACTERS = 131_072
MAX_BODY_CHARACTERS = 1_000_000
# Docker allows an image 127 layers.
MAX_LAYERS = 1_000

Argument = Annotated[str, AtMost(names.MAX_ARGUMENT_BYTES)]
Command = Annotated[list[Argument], AtMost(256)]
EnvironmentName = Annotated[str, Matching(names.ENVIRONMENT_NAME, "a name of an environment variable")]
Environment = Annotated[dict[EnvironmentName, Argument], AtMost(1_000)]
ImageReference = Annotated[str, AtMost(512), Matching(names.IMAGE_REFERENCE, "an image reference")]
NetworkPort = Annotated[int, Within(range(1, 65_536))]
Seconds = Annotated[int, Within(range(1, 3_601))]
Sha256 = Annotated[str, AtMost(64)]
Url = Annotated[str, AtMost(8_192)]
Urls = Annotated[list[Url], AtMost(10_000)]
WireError = Annotated[dict[str, str], AtMost(8)]


# Commands.


class Nothing(Message):
    """An empty body."""


class Port(Message):
    """`host_port` of a command is in names.HOST_PORTS, and `host_ip` the address on which the engine listens."""

    container_port: NetworkPort
    host_port: Annotated[int, Within(range(65_536))]
    protocol: Annotated[str, OneOf(names.PROTOCOLS)] = "tcp"
    host_ip: Annotated[str, AtMost(64)] = "0.0.0.0"  # noqa: S104  publishing is what a port is for


class Volume(Message):
    """`name` is the caller's; on the droplet the volume is `{instance id}-{name}`. `path` is in the container."""

    name: Annotated[str, Matching(names.VOLUME_NAME, "a name of a volume")]
    path: Annotated[str, Matching(names.CONTAINER_PATH, "an absolute path for a volume")]

    def check(self) -> None:
        if names.SYSTEM_PATH.fullmatch(self.path):
            raise Malformed(
                f"must be an absolute path for a volume outside /proc, /sys and /dev, not {self.path!r}", ".path"
            )


class HealthCheck(Message):
    """`command` is an argument list, never a line for a shell. Times are in seconds."""

    command: Command
    interval: Seconds = 30
    timeout: Seconds = 10
    retries: Seconds = 3
    start_period: Annotated[int, Within(range(3_601))] = 10

    def check(self) -> None:
        if not self.command:
            raise Malformed("must not be empty", ".command")


class Limits(Message):
    """Of a command within the ranges of `names`. In an answer 0 is "no limit" after an edit by hand."""

    memory_bytes: int
    nano_cpus: int
    pids: int


class Create(Message):
    """The body of `POST /tools`: all that a container may have. `command` is an argument list, [] the image's own."""

    instance_id: Annotated[str, Matching(names.UUID, "a UUID in lower case")]
    spec_generation: Annotated[int, Within(range(1, 10**10))]
    image: ImageReference
    limits: Limits
    command: Command = field(default_factory=list)
    environment: Environment = field(default_factory=dict, repr=False)
    ports: Annotated[list[Port], AtMost(64)] = field(default_factory=list)
    volumes: Annotated[list[Volume], AtMost(32)] = field(default_factory=list)
    restart_policy: Annotated[str, OneOf(names.RESTART_POLICIES)] = "unless-stopped"
    health_check: HealthCheck | None = None
    init: bool = True

    def check(self) -> None:
        for name, bounds in (
            ("memory_bytes", names.MEMORY_BYTES),
            ("nano_cpus", names.NANO_CPUS),
            ("pids", names.PIDS),
        ):
            _check_range(f".limits.{name}", getattr(self.limits, name), bounds)
        _check_arguments(self.command, self.environment)
        for index, port in enumerate(self.ports):
            _check_range(f".ports[{index}].host_port", port.host_port, names.HOST_PORTS)
            try:
                ipaddress.ip_address(port.host_ip)
            except ValueError:
                raise Malformed("must be an IP address", f".ports[{index}].host_ip") from None
        _check_unique(".ports", ((port.host_port, port.protocol) for port in self.ports))
        _check_unique(".volumes.name", (volume.name for volume in self.volumes))
        _check_unique(".volumes.path", (volume.path for volume in self.volumes))


class Stop(Message):
    """`timeout`: seconds between SIGTERM and SIGKILL."""

    timeout: Annotated[int, Within(names.STOP_TIMEOUTS)] = 10


class Restart(Message):
    """Restarts only while the container's `started_at` is still this one, so that a repeat is no second restart."""

    started_at: Annotated[str, AtMost(64)]
    timeout: Annotated[int, Within(names.STOP_TIMEOUTS)] = 10


class Credentials(Message):
    """User name and password at a registry."""

    username: str
    password: str = field(repr=False)


class Pull(Message):
    """`credentials` are used for this pull only and are not stored."""

    image: ImageReference
    credentials: Credentials | None = None


class RemoveImages(Message):
    """References (`name:tag`, `name@digest`) or ids of images. What a container uses stays, whatever is requested."""

    references: Annotated[list[str], AtMost(1_000)]

    def check(self) -> None:
        for index, reference in enumerate(self.references):
            if not names.IMAGE_ID.fullmatch(reference) and not names.IMAGE_REFERENCE.fullmatch(reference):
                raise Malformed(f"must be an image reference or id, not {reference[:64]!r}", f".references[{index}]")


class Execute(Message):
    """`command` is an argument list, never a line for a shell. `working_directory` "" is the image's own.

    `timeout` in seconds.
    """

    command: Command
    environment: Environment = field(default_factory=dict, repr=False)
    working_directory: str = ""
    stdin: Annotated[str, AtMost(MAX_BODY_CHARACTERS)] = field(default="", repr=False)
    timeout: Annotated[int, Within(names.EXECUTION_SECONDS)] = 30

    def check(self) -> None:
        if not self.command or not self.command[0]:
            raise Malformed("must not be empty", ".command")
        _check_arguments(self.command, self.environment)
        if self.working_directory and not names.CONTAINER_PATH.fullmatch(self.working_directory):
            raise Malformed("must be an absolute path", ".working_directory")


class Save(Message):
    """`parts`: presigned URLs, one to PUT each part of a volume's tar to, in order. All parts but the last are full."""

    part_bytes: Annotated[int, Within(names.PART_BYTES)]
    parts: Urls

    def check(self) -> None:
        _check_urls(self.parts)


class Load(Message):
    """`parts`: presigned URLs to GET a volume's tar from, in order. The tar must have this size and digest."""

    parts: Urls
    size_bytes: int
    sha256: Sha256

    def check(self) -> None:
        _check_urls(self.parts)


class Upgrade(Message):
    """`image`: by digest, of the repository that cloud-init named, and already pulled."""

    image: ImageReference


class Relayed(Message):
    """Stands for the body of a relayed request or answer in the list of routes: bytes, passed on unchanged."""


# Answers.


class Health(Message):
    """The answer without a token: the version of the shim and of its contract."""

    status: str
    version: str
    contract: int


class Container(Message):
    """A container as `inspect` showed it. `state` is Docker's own word.

    Times are Docker's RFC 3339 with nanoseconds, "" for never. `endpoint_id` changes at every start, also at those
    that the engine makes itself.
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
    ports: Annotated[list[Port], AtMost(1_000)]
    environment_names: list[str]
    limits: Limits
    endpoint_id: str


class ActionResult(Message):
    """The container after the act, None once it is removed. `changed` is False where nothing had to be done."""

    container: Container | None
    changed: bool


class Listed(Message):
    """One entry of the engine's list: what is known of a container without inspecting it.

    `memory_bytes` is the limit that it was created with. `limits` are the present ones, where it was inspected: the
    list does not show them.
    """

    id: str
    name: str
    instance_id: str
    spec_generation: int
    state: str
    health: str | None
    endpoint_id: str
    memory_bytes: int = 0
    limits: Limits | None = None


class Memory(Message):
    """The droplet's memory."""

    total_bytes: int
    active_bytes: int
    free_bytes: int
    used_bytes: int


class Disk(Message):
    """The file system that holds the engine's data."""

    mount: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


class Metrics(Message):
    """`cpu_load_percent`: the load average of one minute for each CPU, in percent; it can exceed 100."""

    engine_version: str
    cpu_load_percent: float
    memory: Memory
    disk: Disk


class Status(Message):
    """`complete` is False where the engine's list could not be read to its end; absence then means nothing.

    `shim_image` and `started_at` come with the metrics: the image of this shim's own container, where it runs in one,
    and when its process started, in seconds since 1970 by its clock.
    """

    version: str
    contract: int
    engine_id: str
    complete: bool
    containers: list[Listed]
    metrics: Metrics | None = None
    shim_image: str | None = None
    started_at: float | None = None


class LogLine(Message):
    """`time` is Docker's RFC 3339 with nanoseconds, `stream` is stdout or stderr."""

    time: str
    stream: str
    text: Annotated[str, AtMost(MAX_LINE_CHARACTERS)]


class Logs(Message):
    """`truncated`: older lines within the requested range exist but were left out."""

    lines: Annotated[list[LogLine], AtMost(names.MAX_LOG_LINES)]
    truncated: bool


class FollowLine(Message):
    """One line (NDJSON) of a log as it grows. A line without fields is a sign of life; `error` is the last."""

    line: LogLine | None = None
    error: WireError | None = None


class Executed(Message):
    """`exit_code` is None where the time ran out: the engine cannot end such a process, so it may go on.

    Output is decoded as UTF-8, and cut where `truncated`.
    """

    container: Container
    exit_code: int | None
    stdout: Annotated[str, AtMost(MAX_STREAM_BYTES)]
    stderr: Annotated[str, AtMost(MAX_STREAM_BYTES)]
    truncated: bool


class Stats(Message):
    """What a running container uses. 100 percent is one whole core; bytes are counted from the container's start."""

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


class Copied(Message):
    """`sha256` of the whole tar in lower-case hex; `etags` as the storage answered, one for each part of a save."""

    size_bytes: int
    sha256: Sha256
    etags: list[str] = field(default_factory=list)


class CopyLine(Message):
    """One line (NDJSON) of a save or load. The last holds `done` or `error`; without either the outcome is unknown."""

    bytes_done: int | None = None
    done: Copied | None = None
    error: WireError | None = None


class Upgrading(Message):
    """The upgrade has begun. Its outcome shows in the version that /health answers."""

    image: str


class Restarting(Message):
    """The process that started at `started_at` ends. Another `started_at` in /status shows that a new one serves."""

    started_at: float


class Image(Message):
    """An image on the droplet; `digest` is that of its manifest."""

    id: str
    digest: str
    size_bytes: int


class LayerProgress(Message):
    """One line of the engine about one layer. `status` is the engine's own word; sizes are 0 where it gives none."""

    id: str
    status: str
    bytes_done: int = 0
    bytes_total: int = 0


class PullLine(Message):
    """One line (NDJSON) of a pull. The last holds `image` or `error`; without either the outcome is unknown."""

    layer: LayerProgress | None = None
    image: Image | None = None
    error: WireError | None = None


class ListedImage(Message):
    """`references`: its tags and digests. One without a digest was not pulled from a registry.

    `used`: by a container, running or not.
    """

    id: str
    references: list[str]
    size_bytes: int
    used: bool


class Images(Message):
    """All images on the droplet."""

    images: list[ListedImage]


class RemovedImages(Message):
    """`freed_bytes`: the sizes of the images that are gone, which counts shared layers more than once."""

    removed: list[str]
    freed_bytes: int


# Not on the wire of this version: what the functions' client makes of a relayed exchange and of a pull's lines.


class Request(Message):
    """One HTTP request to the container's own address. `timeout` in seconds, for the whole exchange."""

    port: NetworkPort
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Annotated[str, AtMost(MAX_BODY_CHARACTERS)] = ""
    timeout: int = 10


class Response(Message):
    """The container's answer: header names in lower case, the body decoded as UTF-8, and cut where `truncated`."""

    status: int
    headers: dict[str, str]
    body: Annotated[str, AtMost(MAX_BODY_CHARACTERS)]
    truncated: bool


class Progress(Message):
    """Bytes of the layers announced so far. A registry announces a layer's size only when it begins to send it."""

    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


def _check_range(path: str, value: int, bounds: range) -> None:
    if value not in bounds:
        raise Malformed(f"must be between {bounds.start} and {bounds.stop - 1}, not {value}", path)


def _check_unique(path: str, values: Iterable[Hashable]) -> None:
    if repeated := [value for value, count in Counter(values).items() if count > 1]:
        raise Malformed(f"must not contain {repeated[0]!r} twice", path)


def _check_arguments(command: list[str], environment: dict[str, str]) -> None:
    if any(len(item.encode()) > names.MAX_ARGUMENT_BYTES for item in command):
        raise Malformed(f"must have items of at most {names.MAX_ARGUMENT_BYTES} bytes", ".command")
    for key, value in environment.items():
        if len(f"{key}={value}".encode()) > names.MAX_ARGUMENT_BYTES:
            raise Malformed(f"must have at most {names.MAX_ARGUMENT_BYTES} bytes", f".environment.{key}")


def _check_urls(urls: list[str]) -> None:
    if not urls or not all(map(_is_http, urls)):
        # The URL is a secret: the message does not repeat it.
        raise Malformed("must hold the presigned http or https URL of each part", ".parts")


def _is_http(url: str) -> bool:
    try:
        split = urlsplit(url)
    except ValueError:
        return False
    return (
        split.scheme in ("http", "https")
        and bool(split.hostname)
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )
