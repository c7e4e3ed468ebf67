"""What the lifecycle needs of the world: the ports that adapters implement and tests fake.

A document is a dict of None, bool, int, float, str, aware datetimes, lists and dicts with string keys. All
datetimes are UTC. Every method may raise errors.Unavailable; its outcome is then unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from functions.domain.account.limits import Limits
from functions.domain.instance.container import (
    Container,
    ContainerConfig,
    ContainerStats,
    ExecCommand,
    ExecResult,
    LogLine,
    Logs,
)
from functions.domain.instance.image import PullProgress, RegistryCredentials
from functions.domain.instance.mcp import HttpRequest, HttpResponse
from functions.domain.secrets import Sealed
from functions.domain.toolbox.droplet import Droplet, NewDroplet
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import ShimStatus

Document = dict[str, Any]
# What compare-and-set compares: Firestore's update_time, or the embedded store's revision. Opaque.
Version = object
Line = TypeVar("Line", covariant=True)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Ref:
    """A document's place: `collection` is a slash-separated path of collections and ids, e.g. `a/{id}/events`."""

    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    ref: Ref
    data: Document
    version: Version


@dataclass(frozen=True, slots=True)
class Create:
    """Refused where the document exists."""

    ref: Ref
    data: Document


@dataclass(frozen=True, slots=True)
class Replace:
    """Compare-and-set: refused unless the document's version is still `version`. Keys left out of `data` stay."""

    ref: Ref
    data: Document
    version: Version


@dataclass(frozen=True, slots=True)
class Put:
    """Written whatever is there: for what is the same at each repeat, such as an event."""

    ref: Ref
    data: Document


@dataclass(frozen=True, slots=True)
class Delete:
    """Refused unless the version matches, where one is given; deleting what is not there succeeds."""

    ref: Ref
    version: Version = None


Write = Create | Replace | Put | Delete


@dataclass(frozen=True, slots=True)
class Query:
    """`where`: (field, one of == < <= > >=, value), all of them; nested fields are dotted (`lease.holder`).

    Ordered by `order_by` (None: by id), then by id in the same direction. `after` is the place to go on from, as
    (value of order_by, id), or (id,) without order_by. A document without the ordered field is not found.
    `group`: of all collections whose last name is `collection`, wherever they are; without `after`.
    """

    collection: str
    where: tuple[tuple[str, str, Any], ...] = ()
    order_by: str | None = None
    descending: bool = False
    limit: int = 100
    after: tuple[Any, ...] | None = None
    group: bool = False


class Store(Protocol):
    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        """The documents in the order asked, None where there is none. One round trip."""

    def commit(self, writes: Sequence[Write]) -> Version:
        """All or nothing; the version that every written document has now. Raises errors.Conflict."""

    def query(self, query: Query) -> list[Snapshot]: ...

    def total(self, query: Query, field: str) -> tuple[int, int]:
        """How many documents `where` finds of those that have `field`, and the sum of its whole numbers. One read."""


@dataclass(frozen=True, slots=True)
class Task:
    """An id to converge; carries nothing to believe. `kind` is `instance` or `toolbox`."""

    kind: str
    id: str


class Queue(Protocol):
    def publish(self, tasks: Sequence[Task]) -> None:
        """Returns once all are stored. At least once, in any order."""


class Lines(Iterator[Line], Protocol[Line]):
    """Lines that a shim streams, as they arrive; an error in the middle of the stream is raised by `next`.

    To be closed, also where it was not read to its end: it holds a connection.
    """

    def close(self) -> None:
        """Let go of the connection."""


class Shim(Protocol):
    """The shim of one toolbox, one method for each of its commands.

    `start_by` is the fencing deadline: the shim begins nothing after it, and checks that again while it holds the
    container's lock. `timeout` is how many seconds the caller waits in silence before the outcome is unknown.

    A command that acts on a container returns the container as inspected after the act, None where it is gone, and is
    idempotent: it can be repeated after an unknown outcome. Every method raises shim.contract.errors.ShimError,
    errors.ToolboxUnreachable and errors.ShimIncompatible.
    """

    def create(self, config: ContainerConfig, *, start_by: datetime) -> Container | None:
        """Create a container, which does not start it. Raises OlderSpec where one of a newer generation exists."""

    def inspect(self, name: str, *, start_by: datetime) -> Container | None:
        """Inspect a container. Raises NoSuchContainer, which alone proves that there is none."""

    def start(self, name: str, *, start_by: datetime) -> Container | None:
        """Start a container that does not run."""

    def stop(self, name: str, *, start_by: datetime) -> Container | None:
        """Stop a container that runs: SIGTERM, and SIGKILL after ten seconds."""

    def restart(self, name: str, *, started_at: str, start_by: datetime) -> Container | None:
        """Restart a container whose `started_at` still is the given one, so that a repeat is no second restart."""

    def remove(self, name: str, *, start_by: datetime) -> Container | None:
        """Remove a container, which is stopped first where it runs."""

    def logs(
        self, name: str, *, tail: int, since: str | None = None, start_by: datetime, timeout: float | None = None
    ) -> Logs:
        """Return the last `tail` log lines, of those since the RFC 3339 time `since`."""

    def follow_logs(self, name: str, *, tail: int, since: str | None, start_by: datetime) -> Lines[LogLine | None]:
        """Return the same lines and then each new one until the container stops; None is a sign of life each 10 s."""

    def stats(self, name: str, *, start_by: datetime) -> ContainerStats:
        """Measure what a running container uses. Raises NotRunning."""

    def execute(self, name: str, command: ExecCommand, *, start_by: datetime, timeout: float) -> ExecResult:
        """Run a command in a running container. Not idempotent. Raises NotRunning."""

    def http_request(self, name: str, request: HttpRequest, *, start_by: datetime) -> HttpResponse:
        """Send one HTTP request to the container's own address. Raises NotAnswering."""

    def pull(
        self,
        image: str,
        credentials: RegistryCredentials | None = None,
        *,
        start_by: datetime,
        on_progress: Callable[[PullProgress], None],
    ) -> None:
        """Pull an image. Raises ImageUnavailable where the registry refuses it for good."""

    def prune_images(self, keep: list[str], *, start_by: datetime) -> list[str]:
        """Remove all images but those in `keep` and those that a container uses; return what was removed."""

    def list_containers(
        self, *, start_by: datetime, etag: str = "", with_limits: bool = False
    ) -> tuple[ShimStatus | None, str]:
        """Return the engine's list with its ETag, None for the list where its ETag still is `etag`.

        `with_limits` has the shim inspect each container for its present limits, which the engine's list lacks.
        """

    def status(self, *, start_by: datetime, timeout: float) -> ShimStatus:
        """Return the list together with the droplet's metrics and what the shim says of itself."""

    def upgrade(self, image: str, *, start_by: datetime) -> None:
        """Have the shim replaced by `image`, a reference by digest that was pulled before."""

    def restart_shim(self, *, start_by: datetime, timeout: float) -> None:
        """Have the shim's process restart. A later status shows by its `started_at` whether it did."""


class Vault(Protocol):
    """Secret values are kept sealed, each with what it is `associated_data`: elsewhere it does not open."""

    def seal(self, values: Mapping[str, str], associated_data: str) -> Sealed: ...

    def open(self, sealed: Sealed, associated_data: str) -> dict[str, str]:
        """Raises errors.SecretsUnreadable."""


class Documents(Protocol):
    """How the models of the domain are stored; the lifecycle does not know the stored form."""

    def encode(self, value: object) -> Document:
        """Return the document of an instance, toolbox, account, event and so on, in the present schema."""

    def decode(self, kind: type[Value], document: Document) -> Value:
        """Return the value of type `kind` in `document`, which may be of an older schema.

        Raises errors.DocumentUnreadable for a newer schema and for a malformed document.
        """


class Shims(Protocol):
    def for_toolbox(self, toolbox: Toolbox) -> Shim: ...


class Certificates(Protocol):
    """Shims' certificates, in PEM, and the tokens that their keys sign."""

    def fingerprint(self, pem: str) -> str:
        """SHA-256 of the certificate in DER, lower-case hex. Raises BadRequest."""

    def verify(self, pem: str, token: str, audience: str, toolbox_id: str) -> None:
        """The certificate's key has signed the token, for `audience`, as the toolbox's. Raises Unauthorized."""

    def unverified_toolbox_id(self, token: str) -> str:
        """The id of the toolbox whose a token says it is, before anything of it is verified. Raises Unauthorized."""

    def fingerprint_at(self, address: str) -> str:
        """The fingerprint of what answers at the shim's port there. Raises ToolboxUnreachable."""


class Droplets(Protocol):
    """DigitalOcean's API. Raises errors.DigitalOceanRefused, DigitalOceanBusy, DigitalOceanUnknown."""

    def create(self, new: NewDroplet) -> Droplet:
        """It boots with user-data that holds `new.token`. Not idempotent: after an unknown outcome look for it."""

    def get(self, droplet_id: str) -> Droplet | None: ...

    def list_by_name(self, name: str) -> list[Droplet]: ...

    def list_by_tag(self, tag: str) -> list[Droplet]: ...

    def destroy(self, droplet_id: str) -> bool:
        """By its id, and nothing else. False where there was none."""

    def open_firewall(self, name: str) -> None:
        """Have the firewall of that name, for whatever carries the tag of that name; it is made where it is missing."""

    def remove_firewall(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Dependencies:
    """`now` gives aware UTC time, `new_id` a random UUID, `pause` sleeps that many seconds, `draw` is random.random.

    `limits`: what each account may have and ask for. `announces`: whether events are told outside.
    """

    store: Store
    queue: Queue
    shims: Shims
    droplets: Droplets
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    pause: Callable[[float], None]
    draw: Callable[[], float]
    vault: Vault
    documents: Documents
    limits: Limits = field(default_factory=Limits)
    announces: bool = False
