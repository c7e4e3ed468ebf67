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
from functions.domain.secrets import Sealed
from functions.domain.toolbox.droplet import Droplet, NewDroplet
from functions.domain.toolbox.model import Toolbox
from shim.contract import messages
from shim.contract.routes import Route

Document = dict[str, Any]
# What compare-and-set compares: Firestore's update_time, or the embedded store's revision. Opaque.
Version = object
EMPTY = messages.Nothing()
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
    """What a shim streams, as it comes; what fails in the middle is raised as itself. To be closed, also unread."""

    def close(self) -> None: ...


class Shim(Protocol):
    """One toolbox's shim. Raises protocol.ContractError, errors.ToolboxUnreachable, errors.ShimIncompatible."""

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: messages.Message = EMPTY,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        """One command; the answer is the route's message.

        The shim begins nothing after `start_by`; after `within` seconds of silence the outcome is unknown.
        """

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        """The engine's list and its ETag; None where the ETag still is `unless`. `limits`: those of each container."""

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image: ...

    def follow(self, name: str, *, start_by: datetime, query: str) -> Lines[messages.FollowLine]:
        """A container's log as it grows, until it stops; a line that is empty is a sign of life, every 10 s."""


class Vault(Protocol):
    """Secret values are kept sealed, each with what it is `bound_to`: elsewhere it does not open."""

    def seal(self, values: Mapping[str, str], bound_to: str) -> Sealed: ...

    def open(self, sealed: Sealed, bound_to: str) -> dict[str, str]:
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
    def of(self, toolbox: Toolbox) -> Shim: ...


class Certificates(Protocol):
    """Shims' certificates, in PEM, and the tokens that their keys sign."""

    def fingerprint(self, pem: str) -> str:
        """SHA-256 of the certificate in DER, lower-case hex. Raises BadRequest."""

    def verify(self, pem: str, token: str, audience: str, toolbox_id: str) -> None:
        """The certificate's key has signed the token, for `audience`, as the toolbox's. Raises Unauthorized."""

    def claimed(self, token: str) -> str:
        """The id of the toolbox whose a token says it is, before anything of it is verified. Raises Unauthorized."""

    def shown_at(self, address: str) -> str:
        """The fingerprint of what answers at the shim's port there. Raises ToolboxUnreachable."""


class Droplets(Protocol):
    """DigitalOcean's API. Raises errors.DigitalOceanRefused, DigitalOceanBusy, DigitalOceanUnknown."""

    def create(self, new: NewDroplet) -> Droplet:
        """It boots with user-data that holds `new.token`. Not idempotent: after an unknown outcome look for it."""

    def get(self, droplet_id: str) -> Droplet | None: ...

    def named(self, name: str) -> list[Droplet]: ...

    def tagged(self, tag: str) -> list[Droplet]: ...

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
