"""The embedded store on SQLite, for one machine without Firestore and for fast tests.

It behaves as Firestore does for the documents and queries of this project, and refuses what Firestore refuses; one
suite of tests runs against both (tests/adapters/test_store*.py). Queries filter and sort in Python, because Firestore's
order of values is easier to read in Python than in SQL. SQL only leaves out what certainly is not found: reading a
whole collection for the few instances of one toolbox took 16 ms of CPU at 300 documents.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt
from typing import Any

from functions.adapters.sqlite import Database
from functions.domain import errors
from functions.domain.storable import require_id, require_storable
from functions.lifecycle.dependencies import (
    MAX_IN,
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

# The key that marks a datetime in JSON. A document's own key that begins with a dollar sign gets another one.
_TIME = "$time"
# Likewise for infinities and NaN, which JSON does not have and SQLite's functions do not read.
_NUMBER = "$number"

# The fields that queries narrow a large collection by, and whether they are times; one index on each tuple.
_INDEXED = ((("toolbox_id", False), ("updated_at", True)), (("account", False),), (("due_at", True),))
_FIELD = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def _column(field: str, is_time: bool) -> str:
    """The SQL expression of a dotted field's text, NULL where the field is missing; of a time it is in ISO 8601."""
    path = "".join(f'."{name}"' for name in [*field.split("."), *([_TIME] if is_time else [])])
    return f"json_extract(data, '${path}')"


_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS documents (
        collection TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL, version INTEGER NOT NULL,
        PRIMARY KEY (collection, id)) WITHOUT ROWID""",
    # The number of commits, which are the versions. It is not kept with the documents, so that a document that is
    # deleted and created again never gets a version that it had before.
    "CREATE TABLE IF NOT EXISTS revision (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL)",
    *(
        f"CREATE INDEX IF NOT EXISTS documents_by_{fields[0][0]} ON documents "
        f"({', '.join(_column(field, is_time) for field, is_time in fields)})"
        for fields in _INDEXED
    ),
)

# In Firestore's order of types. bool comes before int, because isinstance(True, int) is true.
_SCALARS: tuple[Any, ...] = (bool, (int, float), datetime, str)

# What JSON can hold as it is.
_UNTAGGED = frozenset({str, bool, int, type(None)})

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "<": lt, "<=": le, ">": gt, ">=": ge}


class SqliteStore:
    """Implements lifecycle.dependencies.Store in a file, or in memory with the path ":memory:".

    A document's version is the number of the commit that last wrote it.

    Raises errors.Unavailable when the file is locked for longer than sqlite.BUSY_SECONDS, errors.Conflict when a commit
    was refused, errors.Unstorable for a document that Firestore would refuse, ValueError for such a query, place or
    commit.
    """

    def __init__(self, path: str) -> None:
        self._database = Database(path, _SCHEMA)

    def get(self, refs: Sequence[Ref]) -> list[Snapshot | None]:
        if not refs:
            return []
        keys = json.dumps([[_checked(ref).collection, ref.id] for ref in refs])
        with self._database.reading() as connection:
            rows = connection.execute(
                """SELECT collection, id, data, version FROM documents WHERE (collection, id) IN
                (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))""",
                (keys,),
            ).fetchall()
        found = {Ref(collection, id): (data, version) for collection, id, data, version in rows}
        return [Snapshot(ref, _decoded(found[ref][0]), found[ref][1]) if ref in found else None for ref in refs]

    def commit(self, writes: Sequence[Write]) -> Version:
        if len({write.ref for write in writes}) < len(writes):
            raise ValueError("One commit must not write a document twice: merge the writes.")
        with self._database.writing() as connection:
            (revision,) = connection.execute(
                "INSERT INTO revision VALUES (1, 1) ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number"
            ).fetchone()
            for write in writes:
                key = (_checked(write.ref).collection, write.ref.id)
                row = connection.execute(
                    "SELECT data, version FROM documents WHERE collection = ? AND id = ?", key
                ).fetchone()
                data = _apply(write, None if row is None else Snapshot(write.ref, _decoded(row[0]), row[1]))
                if data is None:
                    connection.execute("DELETE FROM documents WHERE collection = ? AND id = ?", key)
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", (*key, _encoded(data), revision)
                    )
        return revision

    def query(self, query: Query) -> list[Snapshot]:
        for field, operator, value in query.where:
            if operator not in ("==", "in") and (field != query.order_by or value is None):
                raise ValueError(
                    f"Firestore cannot answer {field} {operator} {value!r} ordered by {query.order_by}: an inequality "
                    "must be on the field of the order."
                )
            if operator == "in" and not 1 <= len(value) <= MAX_IN:
                raise ValueError(f"Firestore takes 1 to {MAX_IN} values of `in`, and {field} has {len(value)}.")
        found = self._selected(query)
        found.sort(key=lambda pair: pair[0], reverse=query.descending)
        if query.after is not None:
            *value, id = query.after
            start, is_after = ([_rank(item) for item in value], id), lt if query.descending else gt
            found = [pair for pair in found if is_after(pair[0], start)]
        return [_projected(snapshot, query.fields) for _, snapshot in found[: query.limit]]

    def total(self, query: Query, field: str) -> tuple[int, int]:
        values = [value for _, snapshot in self._selected(query) for value in _values(snapshot.data, field)]
        numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        return len(values), sum(numbers)

    def _selected(self, query: Query) -> list[tuple[tuple[list[Any], str], Snapshot]]:
        """The documents that the query's `where` selects, each with its sort key."""
        _check_collection(query.collection)
        conditions, values = _narrowed(query)
        with self._database.reading() as connection:
            rows = connection.execute(
                f"""SELECT collection, id, data, version FROM documents
                WHERE {" AND ".join(conditions)}""",  # noqa: S608  field names that match _FIELD, and placeholders
                values,
            ).fetchall()
        snapshots = [Snapshot(Ref(collection, id), _decoded(data), version) for collection, id, data, version in rows]
        return [(key, snapshot) for snapshot in snapshots if (key := _sort_key(query, snapshot)) is not None]


def _narrowed(query: Query) -> tuple[list[str], list[Any]]:
    """SQL conditions that hold for all that the query finds, and for more; with the values of their placeholders."""
    if query.group:
        conditions, values = ["(collection = ? OR collection LIKE '%/' || ?)"], [query.collection, query.collection]
    else:
        conditions, values = ["collection = ?"], [query.collection]
    if query.after is not None and query.order_by is None:
        conditions.append("id < ?" if query.descending else "id > ?")
        values.append(query.after[-1])
    narrowing = {fields[0] for fields in _INDEXED}
    if any((field, isinstance(wanted, datetime)) in narrowing for field, _, wanted in query.where):
        # SQLite prefers the primary key, and so the whole collection, unless `+` keeps it from that.
        conditions[0] = conditions[0].replace("collection", "+collection")
    for field, operator, wanted in query.where:
        if not _FIELD.fullmatch(field):
            continue
        if operator == "in" and all(isinstance(item, str) for item in wanted):
            conditions.append(f"{_column(field, is_time=False)} IN ({', '.join('?' * len(wanted))})")
            values.extend(wanted)
        elif operator == "==" and isinstance(wanted, str):
            conditions.append(f"{_column(field, is_time=False)} = ?")
            values.append(wanted)
        elif operator in ("<=", ">=") and isinstance(wanted, datetime):
            # As text they are in the order of time, since all are in UTC and of the same form but for the fraction.
            conditions.append(f"{_column(field, is_time=True)} {operator} ?")
            values.append(wanted.astimezone(UTC).isoformat())
    return conditions, values


def _projected(snapshot: Snapshot, fields: tuple[str, ...] | None) -> Snapshot:
    if fields is None:
        return snapshot
    return replace(snapshot, data={field: snapshot.data[field] for field in fields if field in snapshot.data})


def _apply(write: Write, existing: Snapshot | None) -> Document | None:
    """The document after the write, None where it is deleted. Raises errors.Conflict."""
    match write:
        case Create(_, data) if existing is None:
            return data
        case Replace(_, data, version) if existing is not None and existing.version == version:
            if not data:
                raise ValueError("A Replace must have at least one key.")
            return existing.data | data
        case Put(_, data):
            return data
        case Delete(_, version) if version is None or (existing is not None and existing.version == version):
            return None
    raise errors.Conflict("The document was changed in the meantime. Read it again.")


def _sort_key(query: Query, snapshot: Snapshot) -> tuple[list[Any], str] | None:
    """The document's sort key in the query's order; None where the query does not select it."""
    for field, operator, wanted in query.where:
        values = [_rank(value) for value in _values(snapshot.data, field)]
        if operator == "in":
            if not values or values[0] not in [_rank(item) for item in wanted]:
                return None
            continue
        if not values or (operator != "==" and values[0][0] != _rank(wanted)[0]):
            return None
        if not _COMPARE[operator](values[0], _rank(wanted)):
            return None
    if query.order_by is None:
        return [], snapshot.ref.id
    values = [_rank(value) for value in _values(snapshot.data, query.order_by)]
    return (values, snapshot.ref.id) if values else None


def _values(data: Document, field: str) -> Iterator[Any]:
    """Yield the value of a dotted field, or nothing where the document does not have it."""
    value: Any = data
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            return
        value = value[key]
    yield value


def _rank(value: Any) -> tuple[Any, ...]:
    """A sort key in Firestore's order: by type first, then by value. 1 and 1.0 are equal."""
    if value is None:
        return (0,)
    for rank, kind in enumerate(_SCALARS, start=1):
        if isinstance(value, kind):
            return rank, value
    if isinstance(value, dict):
        return 6, [(key, _rank(value[key])) for key in sorted(value)]
    return 5, [_rank(item) for item in value]


def _checked(ref: Ref) -> Ref:
    require_id(ref.id)
    _check_collection(ref.collection)
    return ref


def _check_collection(path: str) -> None:
    if path.count("/") % 2:
        raise ValueError(f"The path {path!r} names a document. It must name a collection.")


def _encoded(data: Document) -> str:
    require_storable(data)
    return json.dumps(_tagged(data), ensure_ascii=False)


def _tagged(value: Any) -> Any:
    # Most values of a document are of these types.
    if type(value) in _UNTAGGED:
        return value
    match value:
        case float() if not math.isfinite(value):
            return {_NUMBER: repr(value)}
        case datetime():
            return {_TIME: value.astimezone(UTC).isoformat()}
        case list() | tuple():
            return [_tagged(item) for item in value]
        case dict():
            return {("$" + key if key[0] == "$" else key): _tagged(item) for key, item in value.items()}
    return value


def _decoded(text: str) -> Document:
    data: Document = json.loads(text, object_hook=_untagged)
    return data


def _untagged(pairs: dict[str, Any]) -> Any:
    if _TIME in pairs:
        return datetime.fromisoformat(pairs[_TIME])
    if _NUMBER in pairs:
        return float(pairs[_NUMBER])
    # Few keys have a dollar sign, and looking for one in all of them at once is faster than at each.
    if "$" not in "".join(pairs):
        return pairs
    return {key.removeprefix("$"): value for key, value in pairs.items()}
