"""The store on Firestore.

Compare-and-set on `update_time` in plain batches: no transaction, so nothing is locked while somebody thinks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.adapters.google_calls import answer_within, never
from functions.domain import errors
from functions.lifecycle.dependencies import (
    Create,
    Delete,
    Document,
    Put,
    Query,
    Ref,
    Replace,
    Snapshot,
    Version,
    Write,
)

if TYPE_CHECKING:
    from google.cloud.firestore import Client, DocumentReference, DocumentSnapshot, WriteBatch

# Whole calls, repeats included. Far below a lease's 30 s, so that a worker that waited still knows where it stands.
GET_SECONDS = 5.0
COMMIT_SECONDS = 5.0
QUERY_SECONDS = 10.0
# The last two are what Google's client sets for itself.
CHANNEL_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
KEEPALIVE = ("grpc.keepalive_time_ms", 30_000)


class FirestoreStore:
    """Store of the default database of a project.

    The client and its import (400 ms) wait for the first use: a gRPC channel made before the server forks hangs in
    its children. FIRESTORE_EMULATOR_HOST is read by Google's client then.

    Raises errors.Unavailable when no answer came within the seconds above, errors.Conflict when a commit was
    refused, ValueError for a document or query that Firestore does not know how to hold or to answer.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._connecting = threading.Lock()
        self._client: Client | None = None

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        if not refs:
            return []
        client = self._connected()
        references = [_reference(client, ref) for ref in refs]
        # Answers come in any order, and once for a document that was asked for twice.
        found = {
            document.reference.path: document
            for document in answer_within(
                GET_SECONDS, "Firestore", lambda left: list(client.get_all(references, retry=never(), timeout=left))
            )
        }
        return [
            _snapshot(ref, document) if (document := found[reference.path]).exists else None
            for ref, reference in zip(refs, references, strict=True)
        ]

    def commit(self, writes: Sequence[Write]) -> Version:
        """A repeat after a lost answer may be refused although the first attempt was stored: see ports.Conflict."""
        from google.api_core import exceptions

        if len({write.ref for write in writes}) < len(writes):
            raise ValueError("a commit that writes one document twice")
        client = self._connected()
        batch = client.batch()
        for write in writes:
            _add(client, batch, write)
        try:
            results = answer_within(COMMIT_SECONDS, "Firestore", lambda left: batch.commit(retry=never(), timeout=left))
        except (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound) as refusal:
            raise errors.Conflict("The document was changed by somebody else meanwhile.") from refusal
        return _version_after(writes, [result.update_time for result in results])

    def query(self, query: Query) -> list[Snapshot]:
        from google.cloud.firestore import Query as FirestoreQuery

        found = self._filtered(query).limit(query.limit)
        direction = FirestoreQuery.DESCENDING if query.descending else FirestoreQuery.ASCENDING
        if query.order_by is not None:
            found = found.order_by(query.order_by, direction=direction)
        found = found.order_by("__name__", direction=direction)
        if query.after is not None:
            found = found.start_after(list(query.after))
        documents = answer_within(
            QUERY_SECONDS, "Firestore", lambda left: list(found.stream(retry=never(), timeout=left))
        )
        return [_snapshot(_ref(document.reference), document) for document in documents]

    def total(self, query: Query, field: str) -> tuple[int, int]:
        # Together with a sum only those are counted that have the field.
        asked = self._filtered(query).count(alias="count").sum(field, alias="sum")
        [results] = answer_within(QUERY_SECONDS, "Firestore", lambda left: list(asked.get(retry=never(), timeout=left)))
        values = {result.alias: int(result.value) for result in results}
        return values["count"], values["sum"]

    def _filtered(self, query: Query) -> Any:
        """Firestore's query of what `where` finds; its own types tell a collection from a query, and not the result."""
        from google.cloud.firestore import FieldFilter

        client = self._connected()
        found: Any = (client.collection_group if query.group else client.collection)(query.collection)
        for field, operator, value in query.where:
            found = found.where(filter=FieldFilter(field, operator, value))
        return found

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._project)
            return self._client


def _connect(project: str) -> Client:
    """A client on a channel that looks each second whether Firestore is back.

    gRPC's own pauses grow to two minutes: after an outage of 200 s calls went on failing for another 90 s. The client
    takes no channel, so it is given one where it would keep its own.
    """
    import grpc  # type: ignore[import-untyped]
    from google.cloud import firestore
    from google.cloud.firestore_v1.services.firestore import FirestoreClient
    from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport

    client = firestore.Client(project=project)
    if client._emulator_host is not None:
        channel = grpc.insecure_channel(client._emulator_host, options=CHANNEL_OPTIONS)
    else:
        channel = FirestoreGrpcTransport.create_channel(options=(*CHANNEL_OPTIONS, KEEPALIVE))
    client._firestore_api_internal = FirestoreClient(transport=FirestoreGrpcTransport(channel=channel))
    return client


def _ref(reference: DocumentReference) -> Ref:
    collection, _, id = reference.path.rpartition("/")
    return Ref(collection, id)


def _reference(client: Client, ref: Ref) -> DocumentReference:
    if "/" in ref.id:
        raise ValueError(f"a document id with a slash would be another document's path: {ref.id!r}")
    return client.collection(ref.collection).document(ref.id)


def _add(client: Client, batch: WriteBatch, write: Write) -> None:
    reference = _reference(client, write.ref)
    match write:
        case Create(_, data):
            batch.create(reference, data)
        case Replace(ref, data, version):
            # Escaped, since an update reads a dotted key as the path of a nested field.
            fields = {client.field_path(key): value for key, value in data.items()}
            batch.update(reference, fields, client.write_option(last_update_time=_update_time(version, ref)))
        case Put(_, data):
            batch.set(reference, data)
        case Delete(_, None):
            batch.delete(reference)
        case Delete(ref, version):
            batch.delete(reference, client.write_option(last_update_time=_update_time(version, ref)))


def _version_after(writes: Sequence[Write], update_times: list[datetime | None]) -> Version:
    """One update_time, as far as Firestore gives one.

    A document whose data a write did not change keeps its earlier update_time, and only that passes its next
    precondition; a commit with such a write has one version per document.
    """
    times = {write.ref: at for write, at in zip(writes, update_times, strict=True) if at is not None}
    distinct = set(times.values())
    return distinct.pop() if len(distinct) == 1 else times


def _update_time(version: Version, ref: Ref) -> object:
    return version[ref] if isinstance(version, dict) else version


def _snapshot(ref: Ref, document: DocumentSnapshot[Any]) -> Snapshot:
    data: Document = _plain(document.to_dict())
    return Snapshot(ref, data, _time(document.update_time))


def _time(update_time: Any) -> object:
    """Of a collection group's documents the client leaves the time as the message that it came in."""
    from google.api_core.datetime_helpers import DatetimeWithNanoseconds

    if isinstance(update_time, datetime):
        return update_time
    return DatetimeWithNanoseconds.from_timestamp_pb(update_time)  # type: ignore[no-untyped-call]


def _plain(value: Any) -> Any:
    """Firestore's subclass of datetime turned into datetime itself, which pickles, prints and compares as expected."""
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.timetz())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
