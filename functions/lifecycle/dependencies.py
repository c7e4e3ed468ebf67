"""What the lifecycle depends on: the protocols that adapters implement and tests fake.

The lifecycle imports no SDK and no transport. It receives one `Dependencies` from main.py, so that a test can run every
use case with an embedded store, a fake droplet and a clock of its own.

A document is a dict of None, bool, int, float, str, aware datetimes, lists and dicts with string keys; all datetimes
are UTC. Every method of the store and the queue may raise errors.Unavailable: its outcome is then unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from functions.domain.account.model import Limits
from functions.domain.instance.container import (
    Container,
    ContainerConfig,
    ContainerStats,
    ExecCommand,
    ExecResult,
    LogLine,
    Logs,
)
from functions.domain.instance.mcp import HttpRequest, HttpResponse
from functions.domain.instance.spec import PullProgress, RegistryCredentials
from functions.domain.secrets import Sealed
from functions.domain.toolbox.droplet import Droplet, NewDroplet
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import ShimStatus
from functions.lifecycle.under_way import UnderWay

Document = dict[str, Any]
# What compare-and-set compares: Firestore's update_time or the embedded store's revision. Opaque to the lifecycle.
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
    """A document as it was read."""

    ref: Ref
    data: Document
    version: Version


# The writes of a commit.


@dataclass(frozen=True, slots=True)
class Create:
    """Create a document; refused where it exists. This is also how a unique name or port is reserved."""

    ref: Ref
    data: Document


@dataclass(frozen=True, slots=True)
class Replace:
    """Compare-and-set: refused unless the document's version still is `version`. Fields left out of `data` stay."""

    ref: Ref
    data: Document
    version: Version


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document whether it exists or not: for one that is the same at every repeat, such as an event."""

    ref: Ref
    data: Document


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a document, which succeeds where there is none; with a `version`, refused unless it still matches."""

    ref: Ref
    version: Version = None


Write = Create | Replace | Put | Delete

# Firestore's limit of the values of one `in`: https://firebase.google.com/docs/firestore/query-data/queries
MAX_IN = 30


@dataclass(frozen=True, slots=True)
class Query:
    """A search in one collection.

    where     (field, one of == < <= > >= in, value), all of which must hold; nested fields are dotted (`lease.holder`);
              `in` takes at most MAX_IN values and finds what equals one of them
    order_by  a field, None for the id; documents with the same value are in the order of their ids, and a document
              without the field is not found
    after     where to continue: (value of order_by, id) of the last document found, or (id,) without order_by
    group     search all collections whose last name is `collection`, wherever they are; `after` is not supported
    fields    read only these top-level fields, None for all: it saves the reader's time, not Firestore's price
    """

    collection: str
    where: tuple[tuple[str, str, Any], ...] = ()
    order_by: str | None = None
    descending: bool = False
    limit: int = 100
    after: tuple[Any, ...] | None = None
    group: bool = False
    fields: tuple[str, ...] | None = None


class Store(Protocol):
    """Firestore, or the embedded store of a local world."""

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        """Return the documents in the order of `refs`, None where there is none. One round trip."""

    def commit(self, writes: Sequence[Write]) -> Version:
        """Do all of `writes` or none; return the version that each written document has. Raises errors.Conflict."""

    def query(self, query: Query) -> list[Snapshot]:
        """Return the documents that the query finds."""

    def total(self, query: Query, field: str) -> tuple[int, int]:
        """Count the documents that `query.where` finds and that have `field`, and add up its integers. One read."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work for the queue's worker. It carries only ids: everything else is read from the store.

    reconcile/tasks.py lists the kinds. A kind in the plural has `ids` and no `id`.
    """

    kind: str
    id: str = ""
    ids: tuple[str, ...] = ()

    def message(self) -> dict[str, Any]:
        """The task as the JSON object that the queue stores."""
        return {"kind": self.kind, "ids": list(self.ids)} if self.ids else {"kind": self.kind, "id": self.id}


class Queue(Protocol):
    """Pub/Sub, or the embedded queue of a local world. It delivers at least once and in any order."""

    def publish(self, tasks: Sequence[Task]) -> None:
        """Return once all tasks are stored."""


class Lines(Iterator[Line], Protocol[Line]):
    """Lines that a shim streams, as they arrive; an error in the middle of the stream is raised by `next`.

    Close them even if they were not read to their end: they hold a connection.
    """

    def close(self) -> None:
        """Close the connection."""


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
    """Encrypts secret values. They decrypt only with the same `associated_data`, which names their owner."""

    def seal(self, values: Mapping[str, str], associated_data: str) -> Sealed:
        """Encrypt the values; `associated_data` must be given again to open them."""

    def open(self, sealed: Sealed, associated_data: str) -> dict[str, str]:
        """Decrypt the values. Raises errors.SecretsUnreadable."""


class Documents(Protocol):
    """How the models of the domain are stored; the lifecycle does not know the stored form."""

    def encode(self, value: object) -> Document:
        """Return the document of an instance, toolbox, account, event and so on, in the present schema."""

    def decode(self, kind: type[Value], document: Document) -> Value:
        """Return the value of type `kind` in `document`, which may be of an older schema.

        Raises errors.DocumentUnreadable for a newer schema and for a malformed document.
        """


class Shims(Protocol):
    """The shims of all toolboxes."""

    def for_toolbox(self, toolbox: Toolbox) -> Shim:
        """Return the shim at the toolbox's address; nothing is sent yet."""


class Certificates(Protocol):
    """The shims' certificates, in PEM, and the tokens that their keys sign."""

    def fingerprint(self, pem: str) -> str:
        """Return the SHA-256 of the certificate in DER as lower-case hex. Raises BadRequest."""

    def verify(self, pem: str, token: str, audience: str, toolbox_id: str) -> None:
        """Check that the certificate's key signed the token, for this audience and toolbox. Raises Unauthorized."""

    def unverified_toolbox_id(self, token: str) -> str:
        """Return the toolbox id that a token claims, to find the certificate to verify it with. Raises Unauthorized."""

    def fingerprint_at(self, address: str) -> str:
        """Return the fingerprint of the certificate at the shim's port there. Raises ToolboxUnreachable."""


class Droplets(Protocol):
    """DigitalOcean's API. Raises errors.DigitalOceanRefused, DigitalOceanBusy, DigitalOceanUnknown."""

    def create(self, new: NewDroplet) -> Droplet:
        """Create a droplet whose user-data holds `new.token`.

        The API has no idempotency key: after an unknown outcome the droplet is searched before another one is created.
        """

    def get(self, droplet_id: str) -> Droplet | None:
        """Return a droplet, None where there is none."""

    def list_by_name(self, name: str) -> list[Droplet]:
        """Return the droplets of that name; the API allows several."""

    def list_by_tag(self, tag: str) -> list[Droplet]:
        """Return the droplets with that tag."""

    def destroy(self, droplet_id: str) -> bool:
        """Destroy one droplet by its id, never by a tag. False where there was none."""

    def open_firewall(self, name: str) -> None:
        """Make sure that the firewall `name` exists; it applies to every droplet with the tag of the same name."""

    def remove_firewall(self, name: str) -> None:
        """Delete the firewall `name`, which succeeds where there is none."""


def one_after_another(calls: Sequence[Callable[[], None]]) -> None:
    """Run `calls` in their order, in the caller's thread."""
    for call in calls:
        call()


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What main.py hands to every use case.

    now             the time, aware and UTC
    new_id          a random UUID
    pause           sleeps for that many seconds
    draw            a random number from 0 up to but not including 1
    limits          each account's quotas and rates
    sends_webhooks  whether events are sent to the backend, so that a commit must leave them due
    concurrently    runs all of the calls and returns once each has ended, at the same time where it has threads
    looks           the toolboxes that this process inspects at the moment
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
    sends_webhooks: bool = False
    concurrently: Callable[[Sequence[Callable[[], None]]], None] = one_after_another
    looks: UnderWay = field(default_factory=UnderWay)
