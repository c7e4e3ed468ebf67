"""The bodies and answers of the contract, as dataclasses; JSON on the wire.

`read` parses strictly: a missing, unknown, repeated or mistyped field is refused by its path. Both sides use it:
the shim for what it is told, the functions for what a droplet, which its owner's containers may have taken over,
claims. Standard library only.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections import Counter
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

M = TypeVar("M")
MAX_ITEMS = 10_000
MAX_NUMBER = 1e300
_SURROGATE = re.compile("[\ud800-\udfff]")


class Malformed(ValueError):
    """A sentence that names the field and what is wrong with it."""


def read(kind: type[M], text: bytes) -> M:
    """Parse JSON `text` as the message `kind`. Raises Malformed."""
    try:
        value = json.loads(text or b"{}", object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error) if isinstance(error, Malformed) else "the body is not JSON") from None
    return typing.cast(M, _read(kind, value, kind.__name__))


def dump(message: Any) -> bytes:
    """A message as JSON; one without fields is an empty body."""
    return json.dumps(message, default=_fields, separators=(",", ":")).encode() if fields(message) else b""


def text(raw: bytes) -> str:
    """What a container said, as a string that `read` lets through: NUL and what is not UTF-8 become U+FFFD."""
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _fields(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in message.__slots__}


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise Malformed(f"the key {repeated!r} stands twice")
    return read


def _read(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, path)
    if is_dataclass(kind):
        return _read_message(kind, value, path)
    if origin is list:
        _expect(isinstance(value, list) and len(value) <= MAX_ITEMS, path, f"a list of at most {MAX_ITEMS}")
        return [_read(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value)]
    if origin is dict:
        _expect(isinstance(value, dict) and len(value) <= MAX_ITEMS, path, f"an object of at most {MAX_ITEMS}")
        return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is float:
        # Also no NaN, no infinity and no whole number that a float cannot hold: JSON parsers let them through.
        _expect(type(value) in (int, float) and abs(value) < MAX_NUMBER, path, "a number")
        return float(value)
    # `type is`, since True is an int to isinstance.
    _expect(type(value) is kind, path, {str: "a string", int: "a whole number", bool: "true or false"}[kind])
    if kind is str:
        # A lone surrogate passes for JSON, and then nothing can encode it.
        _expect("\0" not in value and not _SURROGATE.search(value), path, "a string of Unicode without NUL")
    return value


def _read_message(kind: Any, value: Any, path: str) -> Any:
    _expect(isinstance(value, dict), path, "an object")
    hints, required = _shape(kind)
    if unknown := sorted(value.keys() - hints.keys()):
        raise Malformed(f"{path} has no field {unknown[0]!r}")
    if missing := sorted(required - value.keys()):
        raise Malformed(f"{path} lacks the field {missing[0]!r}")
    return kind(**{key: _read(hints[key], item, f"{path}.{key}") for key, item in value.items()})


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """Its fields with their types, and which of them must be there."""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return typing.get_type_hints(kind), required


def _expect(held: bool, path: str, what: str) -> None:
    if not held:
        raise Malformed(f"{path} must be {what}")


@dataclass(frozen=True, slots=True)
class Port:
    container_port: int
    host_port: int
    protocol: str = "tcp"
    host_ip: str = "0.0.0.0"  # noqa: S104  published is what a port is for


@dataclass(frozen=True, slots=True)
class Volume:
    """`name` is the caller's; on the droplet it is `{instance id}-{name}`."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`command` is an argument list, never a shell's line. Times are in seconds."""

    command: list[str]
    interval: int = 30
    timeout: int = 10
    retries: int = 3
    start_period: int = 10


@dataclass(frozen=True, slots=True)
class Limits:
    memory_bytes: int
    nano_cpus: int
    pids: int


@dataclass(frozen=True, slots=True)
class Create:
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


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty body."""


@dataclass(frozen=True, slots=True)
class Stop:
    """`timeout`: seconds between SIGTERM and SIGKILL."""

    timeout: int = 10


@dataclass(frozen=True, slots=True)
class Restart:
    """Restarts only while the container's `started_at` is still this one, so that a repeat is no second restart."""

    started_at: str
    timeout: int = 10


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pull:
    image: str
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Health:
    status: str
    version: str
    contract: int


@dataclass(frozen=True, slots=True)
class Container:
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


@dataclass(frozen=True, slots=True)
class Acted:
    """The container after the act, None once it is gone. `changed` is False where it was so already."""

    container: Container | None
    changed: bool


@dataclass(frozen=True, slots=True)
class Listed:
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


@dataclass(frozen=True, slots=True)
class Memory:
    total_bytes: int
    active_bytes: int
    free_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Disk:
    mount: str
    total_bytes: int
    used_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Metrics:
    engine_version: str
    cpu_load_percent: float
    memory: Memory
    disk: Disk


@dataclass(frozen=True, slots=True)
class Status:
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


@dataclass(frozen=True, slots=True)
class LogLine:
    """`time` is Docker's RFC 3339 with nanoseconds, `stream` is stdout or stderr."""

    time: str
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Logs:
    """`truncated`: older lines within the asked range exist but were left out."""

    lines: list[LogLine]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to the container's own address. `timeout` in seconds, for the whole of it."""

    port: int
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    timeout: int = 10


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answered; header names in lower case, the body decoded as UTF-8, cut where `truncated`."""

    status: int
    headers: dict[str, str]
    body: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Prune:
    """Remove every image but those that a container uses and those of these references."""

    keep: list[str]


@dataclass(frozen=True, slots=True)
class Pruned:
    """References removed, and the sizes of those images: a layer that an image which stays shares is counted, too."""

    removed: list[str]
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Execute:
    """`command` is an argument list, never a shell's line. `timeout` in seconds; "" is the image's own directory."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    working_directory: str = ""
    stdin: str = field(default="", repr=False)
    timeout: int = 30


@dataclass(frozen=True, slots=True)
class Executed:
    """`exit_code` is None where the time ran out: the engine has no call that ends such a process, so it may go on.

    Streams are decoded as UTF-8 and cut where `truncated`.
    """

    container: Container
    exit_code: int | None
    stdout: str
    stderr: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class FollowLine:
    """One line (NDJSON) of a log as it grows; neither field is a sign of life, `error` is the last."""

    line: LogLine | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Stats:
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


@dataclass(frozen=True, slots=True)
class Save:
    """Where a volume's tar goes: presigned URLs to PUT, one for each part in order; all but the last are as large."""

    part_bytes: int
    parts: list[str]


@dataclass(frozen=True, slots=True)
class Load:
    """Where a volume's tar comes from: presigned URLs to GET, one after the other; and what it must prove to be."""

    parts: list[str]
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Copied:
    """`sha256` of the whole tar in lower-case hex; `etags` as the storage answered, one for each part of a save."""

    size_bytes: int
    sha256: str
    etags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CopyLine:
    """One line (NDJSON) of a save's or load's answer; the last holds `done` or `error`; one without is unknown."""

    bytes_done: int | None = None
    done: Copied | None = None
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Upgrade:
    """`image`: by digest, of the repository that cloud-init named; pulled before."""

    image: str


@dataclass(frozen=True, slots=True)
class Upgrading:
    """It was begun; /health tells by its version how it ended."""

    image: str


@dataclass(frozen=True, slots=True)
class Restarting:
    """The process that began at `started_at` ends; what /status says later tells that another one answers."""

    started_at: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of the layers announced so far; a registry announces a layer's size only when it begins to send it."""

    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PullLine:
    """One line (NDJSON) of a pull's answer; the last holds `image` or `error`, and an answer without is unknown."""

    progress: Progress | None = None
    image: Image | None = None
    error: dict[str, str] | None = None
