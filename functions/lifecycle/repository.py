"""Documents: where each is stored, and the one way to load, save, query and retry.

Collections, each with the domain type that its documents hold:

    account_tool_environments/{id}              Toolbox
    account_tool_instances/{id}                 Instance; a deleted one stays as a tombstone until `expire_at`
    (either)/{id}/events/{id}                   Event
    accounts/{hash(account)}                    Account, once the backend named it or it has a toolbox
    instance_names/{hash(toolbox, NFC name)}    reservation of a name: {instance_id, name}
    port_claims/{toolbox}:{port}:{protocol}     reservation of a host port: {instance_id, name}

Every write is a compare-and-set on the version that was read, in one commit with the events and reservations that
belong to it. Transactions are not used: a worker that dies in one would hold others up, and a transaction on a busy
document fails under contention that a retried compare-and-set survives. Increments are not used either: a commit that
is repeated after a lost answer may have happened already, and an increment would then count twice.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from functions.domain.errors import (
    Conflict,
    Contended,
    DocumentUnreadable,
    PayloadTooLarge,
    PortTaken,
    Unavailable,
    Unstorable,
)
from functions.domain.event import Event
from functions.domain.instance.condition import derive_status
from functions.domain.instance.container import Port
from functions.domain.instance.host_port import ANY_HOST_PORT
from functions.domain.instance.model import Instance, check_move
from functions.domain.instance.size import MAX_SPEC_BYTES, condensed, spec_alone
from functions.domain.storable import stored_bytes
from functions.domain.toolbox.model import Toolbox, check_toolbox_move
from functions.lifecycle.dependencies import (
    Create,
    Delete,
    Dependencies,
    Document,
    Put,
    Query,
    Ref,
    Replace,
    Snapshot,
    Task,
    Version,
    Write,
)

log = logging.getLogger(__name__)

# An instance's memory limit in bytes, beside its text form in the spec: Firestore sums numbers only.
MEMORY = "memory_bytes"
TOOLBOXES = "account_tool_environments"
INSTANCES = "account_tool_instances"
NAME_RESERVATIONS = "instance_names"
PORT_RESERVATIONS = "port_claims"

ATTEMPTS = 8
PAUSE_SECONDS = 0.05

T = TypeVar("T")
# The two kinds of documents that workers reconcile under a lease.
D = TypeVar("D", Instance, Toolbox)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A document as read, with the version that the next compare-and-set on it names."""

    value: T
    version: Version


def decode(deps: Dependencies, kind: type[T], snapshot: Snapshot | None) -> Loaded[T] | None:
    """The document in a snapshot; None where there is none. Raises DocumentUnreadable."""
    return Loaded(deps.documents.decode(kind, snapshot.data), snapshot.version) if snapshot else None


def encode(deps: Dependencies, value: object) -> Document:
    """The stored form of a value, in the present schema."""
    return deps.documents.encode(value)


# References.


def toolbox_ref(toolbox_id: str) -> Ref:
    """Where a toolbox's document is stored."""
    return Ref(TOOLBOXES, toolbox_id)


def instance_ref(instance_id: str) -> Ref:
    """Where an instance's document is stored."""
    return Ref(INSTANCES, instance_id)


def ref_of(document: Instance | Toolbox) -> Ref:
    """Where a document is stored."""
    return instance_ref(document.id) if isinstance(document, Instance) else toolbox_ref(document.id)


def name_ref(toolbox_id: str, name: str) -> Ref:
    """The reservation of an instance's name. Names that are equal in Unicode's NFC form share one."""
    text = f"{toolbox_id}/{unicodedata.normalize('NFC', name)}"
    return Ref(NAME_RESERVATIONS, hashlib.sha256(text.encode()).hexdigest())


def port_ref(toolbox_id: str, port: Port) -> Ref:
    """The reservation of a host port on a toolbox."""
    return Ref(PORT_RESERVATIONS, f"{toolbox_id}:{port.host_port}:{port.protocol}")


# Reading.


def load(deps: Dependencies, kind: type[T], ref: Ref) -> Loaded[T] | None:
    """Read a document, None where there is none."""
    return decode(deps, kind, deps.store.get([ref])[0])


def load_many(deps: Dependencies, kind: type[T], refs: Sequence[Ref]) -> list[Loaded[T] | None]:
    """Load documents in the order of `refs`, in one round trip."""
    return [decode(deps, kind, snapshot) for snapshot in deps.store.get(refs)]


def load_toolbox(deps: Dependencies, toolbox_id: str) -> Loaded[Toolbox] | None:
    """Read a toolbox, None where there is none."""
    return load(deps, Toolbox, toolbox_ref(toolbox_id))


def load_instance(deps: Dependencies, instance_id: str) -> Loaded[Instance] | None:
    """Read an instance, None where there is none."""
    return load(deps, Instance, instance_ref(instance_id))


def query(deps: Dependencies, kind: type[T], search: Query) -> list[Loaded[T]]:
    """Read the documents that the query finds."""
    return [loaded for snapshot in deps.store.query(search) if (loaded := decode(deps, kind, snapshot))]


def pages(deps: Dependencies, kind: type[D], search: Query) -> Iterator[Loaded[D]]:
    """Every readable document that `search` finds, in pages of `search.limit`; `search` orders by `created_at`.

    One that cannot be read is logged and left out, so that it does not keep a loop from the others.
    """
    assert search.order_by == "created_at"
    while True:
        page = deps.store.query(search)
        for snapshot in page:
            try:
                found = decode(deps, kind, snapshot)
            except DocumentUnreadable:
                log.exception("a document cannot be read, and is skipped", extra={"document": snapshot.ref.id})
            else:
                if found:
                    yield found
        if len(page) < search.limit:
            return
        search = replace(search, after=(page[-1].data["created_at"], page[-1].ref.id))


def living_instances(toolbox_id: str, limit: int) -> Query:
    """The toolbox's instances that are not tombstones, newest first."""
    where = (("toolbox_id", "==", toolbox_id), ("deleted_at", "==", None))
    return Query(INSTANCES, where, "created_at", descending=True, limit=limit)


# Writing.


def stamp(deps: Dependencies, document: D, revision: str = "") -> D:
    """The document as it will be written: with `revision` or a new one, the time, and the derived status."""
    revised = replace(document, revision=revision or deps.new_id(), updated_at=deps.now())
    return replace(revised, status=derive_status(revised)) if isinstance(revised, Instance) else revised


def check_status_move(before: D, after: D) -> None:
    """Every write of an instance or toolbox passes this. Raises IllegalMove, which is a bug of this code."""
    if isinstance(before, Instance):
        check_move(before.status, after.status)
    else:
        check_toolbox_move(before.status, after.status)


def save(deps: Dependencies, document: D, base: Loaded[D] | None, writes: Sequence[Write] = ()) -> Loaded[D] | None:
    """Commit a stamped `document` over `base` (None: it is new), with `writes` in the same commit.

    Returns None where another writer was first or one of `writes` was refused; nothing is written then. A commit whose
    answer was lost is recognised by the document's revision. Raises Unavailable, Unstorable.
    """
    if base:
        check_status_move(base.value, document)
    ref = ref_of(document)
    try:
        return commit(deps, document, base, writes)
    except (Conflict, Unavailable) as error:
        current = load(deps, type(document), ref)
        if current and current.value.revision == document.revision:
            return current
        if isinstance(error, Unavailable):
            raise
        return None


def commit(deps: Dependencies, document: D, base: Loaded[D] | None, writes: Sequence[Write]) -> Loaded[D]:
    """Commit `document` over `base` with `writes`; an instance that is too large is stored condensed.

    Return the document as it is stored. Raises Conflict, Unavailable, Unstorable.
    """
    ref = ref_of(document)
    try:
        return Loaded(document, deps.store.commit([overwrite(ref, encode(deps, document), base), *writes]))
    except Unstorable:
        if base is None or not isinstance(document, Instance):
            raise
        smaller = stamp(deps, condensed(document), document.revision)
        log.exception("a document is too large, and is stored without what can be observed again", extra={"id": ref.id})
        return Loaded(smaller, deps.store.commit([overwrite(ref, encode(deps, smaller), base), *writes]))


def require_spec_size(deps: Dependencies, instance: Instance) -> Instance:
    """Return the instance. Raises PayloadTooLarge where its spec is larger than a document has room for."""
    size = stored_bytes(encode(deps, spec_alone(instance)))
    if size > MAX_SPEC_BYTES:
        raise PayloadTooLarge(
            f"The instance's configuration needs {size} bytes as it is stored, names and values and encrypted secrets "
            f"included; at most {MAX_SPEC_BYTES} are allowed. Shorten it, or put large data into the image or a volume."
        )
    return instance


def save_or_conflict(
    deps: Dependencies, document: D, base: Loaded[D] | None, writes: Sequence[Write] = ()
) -> Loaded[D]:
    """As `save`, for use within `update_with_retry`. Raises Conflict where another writer was first."""
    saved = save(deps, document, base, writes)
    if saved is None:
        raise Conflict(f"{document.id} was changed by another writer meanwhile")
    return saved


def overwrite(ref: Ref, data: Document, base: Loaded[Any] | None) -> Write:
    """Create the document, or replace the version that was read as `base`."""
    return Replace(ref, data, base.version) if base else Create(ref, data)


def update_with_retry(deps: Dependencies, attempt: Callable[[], T], contended: str) -> T:
    """Repeat `attempt`, which reads, decides and commits, while its commit is refused (it raises Conflict).

    Everything is read again after a pause with jitter. Raises Contended with the sentence `contended` after ATTEMPTS
    refusals.
    """
    for number in range(ATTEMPTS):
        try:
            return attempt()
        except Conflict:
            pause_before_retry(deps, number)
    raise Contended(contended)


def pause_before_retry(deps: Dependencies, attempt: int) -> None:
    """Wait before the next attempt of a compare-and-set: doubling from attempt to attempt, with jitter."""
    deps.pause(PAUSE_SECONDS * 2**attempt * (0.5 + deps.draw()))


def publish_or_leave_to_sweep(deps: Dependencies, task: Task) -> None:
    """Have a worker take the task up now. The document says that it is due, so a lost message only costs time."""
    try:
        deps.queue.publish([task])
    except Unavailable:
        log.warning(
            "the queue did not confirm a task; the sweep will find it", extra={task.kind: task.id}, exc_info=True
        )


# Reservations: documents whose existence keeps others from a name or a host port.


def reservations(instance: Instance) -> list[Ref]:
    """The reservations of an instance's name and host ports, of both of its versions during an update.

    A tombstone has none: it released them, and they may be another instance's by now.
    """
    if instance.deleted_at:
        return []
    specs = [instance.spec, *([instance.previous_version.spec] if instance.previous_version else [])]
    ports = [port_ref(instance.toolbox_id, port) for spec in specs for port in spec.ports]
    return [name_ref(instance.toolbox_id, instance.name), *dict.fromkeys(ports)]


def reserve(instance: Instance, before: Instance | None = None) -> list[Write]:
    """Create the reservations of `instance` that `before` does not have; refused where another instance has one."""
    existing, data = reservations(before) if before else [], {"instance_id": instance.id, "name": instance.name}
    return [Create(ref, data) for ref in reservations(instance) if ref not in existing]


def release_reservations(before: Instance, after: Instance) -> list[Write]:
    """Delete the reservations of `before` that `after` does not need."""
    needed = reservations(after)
    return [Delete(ref) for ref in reservations(before) if ref not in needed]


def refuse_reserved_ports(deps: Dependencies, toolbox_id: str, ports: Sequence[Port], instance_id: str = "") -> None:
    """Raise PortTaken where one of `ports` was requested by its number and another instance has reserved it."""
    numbered = [port for port in ports if port.host_port not in ANY_HOST_PORT]
    found = deps.store.get([port_ref(toolbox_id, port) for port in numbered])
    for port, reservation in zip(numbered, found, strict=True):
        if reservation and reservation.data["instance_id"] != instance_id:
            holder = f"{reservation.data['name']!r} ({reservation.data['instance_id']})"
            raise PortTaken(
                f"Host port {port.host_port}/{port.protocol} is reserved by instance {holder}. Choose another one, "
                "or leave hostPort out to have one allocated."
            )


# Events: written in the commit of what they report, under an id that follows from it, so that a repeat is the same one.


def toolbox_event(deps: Dependencies, toolbox: Toolbox, event: Event) -> Put:
    """The write that records an event of a toolbox."""
    return Put(Ref(f"{TOOLBOXES}/{toolbox.id}/events", event.id), encode(deps, event))


def instance_event(deps: Dependencies, instance: Instance, event: Event) -> Put:
    """The write that records an event of an instance."""
    return Put(Ref(f"{INSTANCES}/{instance.id}/events", event.id), encode(deps, event))
