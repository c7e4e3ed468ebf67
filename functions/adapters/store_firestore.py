"""The store on Firestore.

A write is a batch in which each update names the `update_time` that it was based on (compare-and-set). Transactions
were tried and rejected: on one hot document, eight threads that each made 20 increments in transactions did not finish
in 150 s, and took 1.4 s with compare-and-set. A transaction also runs its body again after a conflict, and holds a
document while the body calls a shim. Firestore's increments were rejected because a commit whose answer was lost is
repeated, and a repeated increment counts twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.adapters.firestore_protocol import decode_fields, structured_query
from functions.adapters.google_calls import call_within, no_retries
from functions.domain import errors
from functions.domain.storable import require_id, require_storable
from functions.lifecycle.dependencies import (
    Create,
    Delete,
    Put,
    Query,
    Ref,
    Replace,
    Snapshot,
    Version,
    Write,
)

if TYPE_CHECKING:
    from google.cloud.firestore import Client, DocumentReference, WriteBatch

# For whole calls, retries included. Far shorter than a lease (30 s), so that a worker that waited for an answer can
# still rely on its lease.
GET_SECONDS = 5.0
COMMIT_SECONDS = 5.0
QUERY_SECONDS = 10.0
# The limits of message size are those of Google's own channel; Firestore's limits apply instead.
CHANNEL_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
# As Google's client sets it for Firestore, and not for the emulator.
KEEPALIVE = ("grpc.keepalive_time_ms", 30_000)


class FirestoreStore:
    """Implements lifecycle.dependencies.Store with the default database of a project.

    The client is made on first use: a gRPC channel that is made before the server forks hangs in the children
    (grpc#41725), and importing it takes 400 ms. Google's client reads FIRESTORE_EMULATOR_HOST then.

    Raises errors.Unavailable when no answer came within GET_SECONDS, COMMIT_SECONDS or QUERY_SECONDS, errors.Conflict
    when a commit was refused, errors.Unstorable for a document that Firestore cannot store, ValueError for a query that
    it cannot answer and for a place or a commit that it does not have.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self._connecting = threading.Lock()
        self._client: Client | None = None

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        if not refs:
            return []
        client = self._connect_once()
        names = [_reference(client, ref)._document_path for ref in refs]
        # Answers come in any order, and only once for a document that is requested twice.
        request = {"database": client._database_string, "documents": names}
        answers = call_within(
            GET_SECONDS,
            "Firestore",
            lambda left: list(
                client._firestore_api.batch_get_documents(
                    request, retry=no_retries(), timeout=left, metadata=client._rpc_metadata
                )
            ),
        )
        found = {answer._pb.found.name: answer._pb.found for answer in answers if "found" in answer}
        return [_snapshot(ref, found[name]) if name in found else None for ref, name in zip(refs, names, strict=True)]

    def commit(self, writes: Sequence[Write]) -> Version:
        """Commit the batch. A retry after a lost answer raises Conflict although the first attempt was stored.

        The caller cannot tell that from another worker's write. It reads the document again and compares its revision,
        which names the commit.
        """
        from google.api_core import exceptions

        if len({write.ref for write in writes}) < len(writes):
            raise ValueError("One commit must not write a document twice: merge the writes.")
        client = self._connect_once()
        batch = client.batch()
        for write in writes:
            if not isinstance(write, Delete):
                require_storable(write.data)
            _add(client, batch, write)
        try:
            results = call_within(
                COMMIT_SECONDS, "Firestore", lambda left: batch.commit(retry=no_retries(), timeout=left)
            )
        except (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound) as refusal:
            raise errors.Conflict("The document was changed in the meantime. Read it again.") from refusal
        except ValueError as refusal:
            # The fields that a Replace leaves out count too, and only Firestore knows them.
            raise errors.Unstorable(f"Firestore cannot hold a document of this commit: {refusal}") from refusal
        return _version_after(writes, [result.update_time for result in results])

    def query(self, query: Query) -> list[Snapshot]:
        client = self._connect_once()
        root = f"{client._database_string}/documents"
        above = query.collection.rpartition("/")[0]
        request = {
            "parent": f"{root}/{above}" if above else root,
            "structured_query": structured_query(query, f"{root}/{query.collection}"),
        }
        answers = call_within(
            QUERY_SECONDS,
            "Firestore",
            lambda left: list(
                client._firestore_api.run_query(
                    request, retry=no_retries(), timeout=left, metadata=client._rpc_metadata
                )
            ),
        )
        # An answer without a document only says how far the query has come.
        documents = [answer._pb.document for answer in answers if "document" in answer]
        return [_snapshot(_ref(document.name, root), document) for document in documents]

    def total(self, query: Query, field: str) -> tuple[int, int]:
        # Where a sum is requested too, Firestore counts only documents that have the summed field.
        aggregation = self._filtered(query).count(alias="count").sum(field, alias="sum")
        [results] = call_within(
            QUERY_SECONDS,
            "Firestore",
            lambda left: list(aggregation.get(retry=no_retries(), timeout=left)),
        )
        values = {result.alias: int(result.value) for result in results}
        return values["count"], values["sum"]

    def _filtered(self, query: Query) -> Any:
        """Firestore's query for the documents that `where` selects.

        The return type is Any, because the client has different types for a collection and for a filtered query.
        """
        from google.cloud.firestore import FieldFilter

        client = self._connect_once()
        found: Any = (client.collection_group if query.group else client.collection)(query.collection)
        for field, operator, value in query.where:
            found = found.where(filter=FieldFilter(field, operator, value))
        return found

    def _connect_once(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = _connect(self._project)
            return self._client


def _connect(project: str) -> Client:
    """Make a client whose channel tries to reconnect every second.

    gRPC's own backoff grows to two minutes: after an outage of 200 s, calls failed for another 90 s. The client has no
    parameter for a channel, so the attribute that would hold its own is set.
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


def _ref(name: str, root: str) -> Ref:
    collection, _, id = name.removeprefix(f"{root}/").rpartition("/")
    return Ref(collection, id)


def _reference(client: Client, ref: Ref) -> DocumentReference:
    require_id(ref.id)
    return client.collection(ref.collection).document(ref.id)


def _add(client: Client, batch: WriteBatch, write: Write) -> None:
    reference = _reference(client, write.ref)
    match write:
        case Create(_, data):
            batch.create(reference, data)
        case Replace(ref, data, version):
            # Escaped, because an update takes a key with dots as the path of a nested field.
            fields = {client.field_path(key): value for key, value in data.items()}
            batch.update(reference, fields, client.write_option(last_update_time=_update_time(version, ref)))
        case Put(_, data):
            batch.set(reference, data)
        case Delete(_, None):
            batch.delete(reference)
        case Delete(ref, version):
            batch.delete(reference, client.write_option(last_update_time=_update_time(version, ref)))


def _version_after(writes: Sequence[Write], update_times: list[datetime | None]) -> Version:
    """The version that the written documents have now: one update_time, or one per document where they differ.

    A document that a write did not change keeps its earlier update_time, and its next precondition must name that one.
    """
    times = {write.ref: at for write, at in zip(writes, update_times, strict=True) if at is not None}
    distinct = set(times.values())
    return distinct.pop() if len(distinct) == 1 else times


def _update_time(version: Version, ref: Ref) -> object:
    return version[ref] if isinstance(version, dict) else version


def _snapshot(ref: Ref, document: Any) -> Snapshot:
    """`document` is the protobuf message. Its update_time is kept to the nanosecond, for a later precondition."""
    from google.api_core.datetime_helpers import DatetimeWithNanoseconds

    update_time: object = DatetimeWithNanoseconds.from_timestamp_pb(document.update_time)  # type: ignore[no-untyped-call]
    return Snapshot(ref, decode_fields(document.fields), update_time)
