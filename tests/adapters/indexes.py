"""Checks that infra/firestore.indexes.json has the indexes that a query needs; the emulator answers without any.

Rules: https://firebase.google.com/docs/firestore/query-data/index-overview. Every field has an ascending and a
descending index of its own unless exempted; an exemption of a map covers what is in it. A query is answered from the
indexes that end with its order and begin with fields that it compares with `==` or `in`; several are merged, so
together they must name all of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from functions.lifecycle.dependencies import Query, Snapshot
from tests.fakes.store import ForwardingStore

FILE = Path(__file__).parents[2] / "infra" / "firestore.indexes.json"
BOTH = ("ASCENDING", "DESCENDING")

# (field path, direction) from first to last.
Index = tuple[tuple[str, str], ...]


def missing(query: Query, declared: dict[str, Any]) -> str | None:
    """Describe the index that `query` needs and `declared`, the file's content, lacks; None where it lacks none."""
    equal = {field for field, operator, _ in query.where if operator in ("==", "in")}
    direction = BOTH[query.descending]
    order: Index = ()
    if query.order_by is not None and query.order_by not in equal:
        order = ((query.order_by, direction),)
    elif query.descending:
        order = (("__name__", direction),)
    if not equal and not order:
        return None
    found = [index for index in _indexes(query, declared) if _serves(index, equal, order)]
    if found and equal == {field for index in found for field, _ in index[: len(index) - len(order)]}:
        return None
    fields = [f"{field} ASCENDING" for field in sorted(equal)] + [f"{field} {way}" for field, way in order]
    return f"{_group(query)}: {', '.join(fields)}"


def _serves(index: Index, equal: set[str], order: Index) -> bool:
    """Whether the index ends with the order and begins with nothing but fields that are compared with `==`."""
    rest = index[: len(index) - len(order)]
    if index[len(rest) :] != order or not {field for field, _ in rest} <= equal:
        return False
    # An index's own order by id is that of its last field.
    return bool(order) or rest[-1][1] == "ASCENDING"


def _indexes(query: Query, declared: dict[str, Any]) -> Iterator[Index]:
    group, scope = _group(query), "COLLECTION_GROUP" if query.group else "COLLECTION"
    for index in declared["indexes"]:
        if index["collectionGroup"] == group and index["queryScope"] == scope:
            yield tuple((field["fieldPath"], field["order"]) for field in index["fields"])
    for field in {field for field, _, _ in query.where} | {query.order_by}:
        if field is not None:
            yield from (((field, direction),) for direction in _directions(group, scope, field, declared))


def _directions(group: str, scope: str, field: str, declared: dict[str, Any]) -> Sequence[str]:
    overrides = {
        (override["collectionGroup"], override["fieldPath"]): override["indexes"]
        for override in declared["fieldOverrides"]
    }
    while field:
        if (group, field) in overrides:
            return [index["order"] for index in overrides[group, field] if index["queryScope"] == scope]
        field = field.rpartition(".")[0]
    # Single-field indexes exist without a declaration for the scope of a collection, not of a collection group.
    return BOTH if scope == "COLLECTION" else ()


def _group(query: Query) -> str:
    return query.collection.rpartition("/")[2]


class IndexedStore(ForwardingStore):
    """Fails a test whose query needs an index that infra/firestore.indexes.json lacks."""

    def total(self, query: Query, field: str) -> tuple[int, int]:
        self.query(replace(query, order_by=field, limit=1))
        return super().total(query, field)

    def query(self, query: Query) -> list[Snapshot]:
        index = missing(query, json.loads(FILE.read_text()))
        assert index is None, f"infra/firestore.indexes.json lacks an index on {index}"
        return super().query(query)
