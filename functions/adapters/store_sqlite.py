"""The embedded store on SQLite: for one machine without Firestore, and for fast tests.

It promises what Firestore promises and refuses what Firestore refuses, as far as this project's documents go; one
contract suite holds both to it. Queries are answered in Python over the whole collection: a machine's worth of
documents is few, and the order of Firestore's types is easier to read than to express in SQL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt
from typing import Any

from functions.adapters.sqlite import Database
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

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS documents (
        collection TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL, version INTEGER NOT NULL,
        PRIMARY KEY (collection, id)) WITHOUT ROWID""",
    # Counts commits. Apart from the documents, so that one deleted and created again never has an old version.
    "CREATE TABLE IF NOT EXISTS revision (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL)",
)

# Firestore's limit for a document, and the names it keeps for itself.
_LARGEST_BYTES = 1_048_576
_RESERVED = re.compile(r"__.*__", re.DOTALL)

# The key that marks a datetime in JSON. Keys of documents that begin like it get one more dollar sign.
_TIME = "$time"

# In Firestore's order; a bool is an int to isinstance and must come first.
_SCALARS: tuple[Any, ...] = (bool, (int, float), datetime, str)

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "<": lt, "<=": le, ">": gt, ">=": ge}


class SqliteStore:
    """Store in a file, or in memory with the path ":memory:". Versions are numbers of commits.

    Raises errors.Unavailable when the file is locked for longer than sqlite.BUSY_SECONDS, errors.Conflict when a
    commit was refused, ValueError for a document or query that Firestore would refuse.
    """

    def __init__(self, path: str) -> None:
        self._database = Database(path, _SCHEMA)

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        if not refs:
            return []
        places = json.dumps([[_checked(ref).collection, ref.id] for ref in refs])
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT collection, id, data, version FROM documents WHERE (collection, id) IN
                (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))""",
                (places,),
            ).fetchall()
        found = {Ref(collection, id): (data, version) for collection, id, data, version in rows}
        return [Snapshot(ref, _decoded(found[ref][0]), found[ref][1]) if ref in found else None for ref in refs]

    def commit(self, writes: Sequence[Write]) -> Version:
        if len({write.ref for write in writes}) < len(writes):
            raise ValueError("a commit that writes one document twice")
        with self._database.writing() as connection:
            (revision,) = connection.execute(
                "INSERT INTO revision VALUES (1, 1) ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number"
            ).fetchone()
            for write in writes:
                place = (_checked(write.ref).collection, write.ref.id)
                row = connection.execute(
                    "SELECT data, version FROM documents WHERE collection = ? AND id = ?", place
                ).fetchone()
                data = _outcome(write, None if row is None else Snapshot(write.ref, _decoded(row[0]), row[1]))
                if data is None:
                    connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", place)
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", (*place, _encoded(data), revision)
                    )
        return revision

    def query(self, query: Query) -> list[Snapshot]:
        for field, operator, value in query.where:
            if operator != "==" and (field != query.order_by or value is None):
                raise ValueError(f"{field} {operator} {value!r} cannot be asked in the order of {query.order_by}")
        places = self._found(query)
        places.sort(key=lambda pair: pair[0], reverse=query.descending)
        if query.after is not None:
            *value, id = query.after
            begin, beyond = ([_rank(item) for item in value], id), lt if query.descending else gt
            places = [pair for pair in places if beyond(pair[0], begin)]
        return [found for _, found in places[: query.limit]]

    def total(self, query: Query, field: str) -> tuple[int, int]:
        values = [value for _, found in self._found(query) for value in _values(found.data, field)]
        numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        return len(values), sum(numbers)

    def _found(self, query: Query) -> list[tuple[tuple[list[Any], str], Snapshot]]:
        """What the query's `where` finds, each with its place in the query's order."""
        _check_collection(query.collection)
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT collection, id, data, version FROM documents
                WHERE collection = :name OR (:group AND collection LIKE '%/' || :name)""",
                {"name": query.collection, "group": query.group},
            ).fetchall()
        snapshots = [Snapshot(Ref(collection, id), _decoded(data), version) for collection, id, data, version in rows]
        return [(place, found) for found in snapshots if (place := _place(query, found)) is not None]


def _outcome(write: Write, existing: Snapshot | None) -> Document | None:
    """What the document is after the write; None where it is gone."""
    match write:
        case Create(_, data) if existing is None:
            return data
        case Replace(_, data, version) if existing is not None and existing.version == version:
            if not data:
                raise ValueError("a Replace without any key")
            return existing.data | data
        case Put(_, data):
            return data
        case Delete(_, version) if version is None or (existing is not None and existing.version == version):
            return None
    raise errors.Conflict("The document was changed by somebody else meanwhile.")


def _place(query: Query, found: Snapshot) -> tuple[list[Any], str] | None:
    """Where the document stands in the query's order; None where it is not among the answers."""
    for field, operator, wanted in query.where:
        values = [_rank(value) for value in _values(found.data, field)]
        if not values or (operator != "==" and values[0][0] != _rank(wanted)[0]):
            return None
        if not _COMPARE[operator](values[0], _rank(wanted)):
            return None
    if query.order_by is None:
        return [], found.ref.id
    values = [_rank(value) for value in _values(found.data, query.order_by)]
    return (values, found.ref.id) if values else None


def _values(data: Document, field: str) -> Iterator[Any]:
    """The value of a dotted field, or nothing where the document lacks it."""
    value: Any = data
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            return
        value = value[key]
    yield value


def _rank(value: Any) -> tuple[Any, ...]:
    """Orders values as Firestore does: by type first. 1 and 1.0 are one value."""
    if value is None:
        return (0,)
    for rank, kind in enumerate(_SCALARS, start=1):
        if isinstance(value, kind):
            return rank, value
    if isinstance(value, dict):
        return 6, [(key, _rank(value[key])) for key in sorted(value)]
    return 5, [_rank(item) for item in value]


def _checked(ref: Ref) -> Ref:
    if "/" in ref.id or ref.id in ("", ".", "..") or _RESERVED.fullmatch(ref.id):
        raise ValueError(f"not a document's id: {ref.id!r}")
    _check_collection(ref.collection)
    return ref


def _check_collection(path: str) -> None:
    if path.count("/") % 2:
        raise ValueError(f"the path of a document, not of a collection: {path}")


def _encoded(data: Document) -> str:
    text = json.dumps(_tagged(data), ensure_ascii=False)
    # Also refuses lone surrogates, which have no UTF-8.
    if len(text.encode()) > _LARGEST_BYTES:
        raise ValueError(f"a document of more than {_LARGEST_BYTES} bytes")
    return text


def _tagged(value: Any, in_list: bool = False) -> Any:
    match value:
        case None | bool() | float() | str():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case datetime() if value.tzinfo is not None:
            return {_TIME: value.astimezone(UTC).isoformat()}
        case list() | tuple() if not in_list:
            return [_tagged(item, in_list=True) for item in value]
        case dict() if all(isinstance(key, str) and key and not _RESERVED.fullmatch(key) for key in value):
            return {("$" + key if key.startswith("$") else key): _tagged(item) for key, item in value.items()}
    raise ValueError(f"Firestore cannot hold this, or not here: {value!r:.80}")


def _decoded(text: str) -> Document:
    data: Document = json.loads(text, object_hook=_untagged)
    return data


def _untagged(pairs: dict[str, Any]) -> Any:
    if _TIME in pairs:
        return datetime.fromisoformat(pairs[_TIME])
    return {key.removeprefix("$"): value for key, value in pairs.items()}
