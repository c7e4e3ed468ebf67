"""The answers of the contract: all that a shim can say of what it saw."""

from __future__ import annotations

from dataclasses import field

from shim.contract.bodies import Limits, Port
from shim.contract.message import Message


class Health(Message):
    status: str
    version: str
    contract: int


class Container(Message):
    """What `inspect` said. `state` is Docker's own word; times are Docker's RFC 3339 with nanoseconds, "" if never.

    `endpoint_id` changes at every start, also those that the engine makes by itself.
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
    limits: Limits
    endpoint_id: str


class Acted(Message):
    """The container after the act, None once it is gone. `changed` is False where it was so already."""

    container: Container | None
    changed: bool


class Listed(Message):
    """One line of the engine's list: what can be told of a container without inspecting it.

    `memory_bytes` is the limit that it was created with. `limits` are those that it has now, where it was looked into:
    the list does not show them.
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
    total_bytes: int
    active_bytes: int
    free_bytes: int
    used_bytes: int


class Disk(Message):
    mount: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


class Metrics(Message):
    engine_version: str
    cpu_load_percent: float
    memory: Memory
    disk: Disk


class Status(Message):
    """`complete` is False where the engine's list could not be read to its end; absence then means nothing.

    `shim_image` and `started_at` come with the metrics: what this shim's own container was made from, where it runs in
    one, and when its process began, in seconds since 1970 by its clock.
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
    text: str


class Logs(Message):
    """`truncated`: older lines within the asked range exist but were left out."""

    lines: list[LogLine]
    truncated: bool


class Response(Message):
    """What the server answered; header names in lower case, the body decoded as UTF-8, cut where `truncated`."""

    status: int
    headers: dict[str, str]
    body: str
    truncated: bool


class Pruned(Message):
    """References removed, and the sizes of those images: a layer that an image which stays shares is counted, too."""

    removed: list[str]
    freed_bytes: int


class Executed(Message):
    """`exit_code` is None where the time ran out: the engine has no call that ends such a process, so it may go on.

    Streams are decoded as UTF-8 and cut where `truncated`.
    """

    container: Container
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool


class FollowLine(Message):
    """One line (NDJSON) of a log as it grows; neither field is a sign of life, `error` is the last."""

    line: LogLine | None = None
    error: dict[str, str] | None = None


class Stats(Message):
    """What a running container uses. 100 percent is one whole core; bytes moved are since the container's start."""

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
    sha256: str
    etags: list[str] = field(default_factory=list)


class CopyLine(Message):
    """One line (NDJSON) of a save's or load's answer; the last holds `done` or `error`; one without is unknown."""

    bytes_done: int | None = None
    done: Copied | None = None
    error: dict[str, str] | None = None


class Upgrading(Message):
    """It was begun; /health tells by its version how it ended."""

    image: str


class Restarting(Message):
    """The process that began at `started_at` ends; what /status says later tells that another one answers."""

    started_at: float


class Progress(Message):
    """Bytes of the layers announced so far; a registry announces a layer's size only when it begins to send it."""

    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


class Image(Message):
    id: str
    digest: str
    size_bytes: int


class PullLine(Message):
    """One line (NDJSON) of a pull's answer; the last holds `image` or `error`, and an answer without is unknown."""

    progress: Progress | None = None
    image: Image | None = None
    error: dict[str, str] | None = None
