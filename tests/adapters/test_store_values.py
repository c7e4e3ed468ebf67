"""The values that both stores can hold, and those that Firestore refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest

from functions.domain.errors import Unstorable
from functions.lifecycle.dependencies import Create, Document, Put, Ref, Replace, Store

A, B = Ref("things", "a"), Ref("things", "b")
NOW = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def read(store: Store, ref: Ref) -> Document:
    [found] = store.get([ref])
    assert found is not None
    return found.data


class State(StrEnum):
    RUNNING = "running"


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, 2**63 - 1, -(2**63), 1.5, -0.25, 1e300, float("inf")),
        *("", "Ü ☃ 🧰 \u0000 \n \"'", "$time", [], [1, "a", None, {"b": [2, False]}], {}),
        {"$time": "2026-01-01", "$": 1, "$$time": {"a.b": {}, "c d": [], "`": None, "ü": 1}},
        *(
            NOW,
            NOW.replace(microsecond=1),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        ),
        [{"at": NOW}, NOW],
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_every_kind_of_value_is_read_as_it_was_written(store: Store, value: Any) -> None:
    version = store.commit([Create(A, {"value": value, "nested": {"value": value}})])
    store.commit([Replace(A, {"nested": {"value": [value] if type(value) is not list else value}}, version)])
    store.commit([Put(B, {"value": value})])
    first, second = read(store, A), read(store, B)
    assert first == {"value": value, "nested": {"value": [value] if type(value) is not list else value}}
    assert second == {"value": value}
    assert type(second["value"]) is type(value)
    if isinstance(value, datetime):
        assert second["value"].tzinfo is UTC


def test_zoned_times_enums_and_tuples_are_read_in_plain_types(store: Store) -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    store.commit([Put(A, {"at": tokyo, "state": State.RUNNING, "pair": (1, 2)})])
    found = read(store, A)
    assert found == {"at": NOW, "state": "running", "pair": [1, 2]}
    assert [type(value) for value in found.values()].count(State) == 0
    assert found["at"].tzinfo is UTC


def test_changing_a_read_or_written_value_does_not_change_the_store(store: Store) -> None:
    written = {"list": [1], "map": {"a": 1}}
    store.commit([Put(A, written)])
    written["list"].append(2)  # type: ignore[attr-defined]
    read(store, A)["map"]["a"] = 2
    assert read(store, A) == {"list": [1], "map": {"a": 1}}


@pytest.mark.parametrize(
    "value",
    [
        *(2**63, -(2**63) - 1, [[1]], {"__name__": 1}, {"": 1}, {"k" * 1_501: 1}, "\ud800", {"\ud800": 1}, object()),
        *(datetime(2026, 1, 1), "x" * 1_048_577),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_value_that_firestore_cannot_hold_is_refused(store: Store, value: Any) -> None:
    with pytest.raises(Unstorable):
        store.commit([Put(B, {"n": 1}), Put(A, {"value": value})])
    assert store.get([A, B]) == [None, None]


def test_replace_is_refused_where_all_fields_together_are_too_large(store: Store) -> None:
    version = store.commit([Create(A, {"first": "x" * 600_000})])
    with pytest.raises(Unstorable):
        store.commit([Replace(A, {"second": "x" * 600_000}, version)])
    with pytest.raises(Unstorable):
        store.commit([Replace(A, {"__x__": 1}, version)])
    assert read(store, A) == {"first": "x" * 600_000}


@pytest.mark.parametrize("id", ["a/b", "a/b/c", "..", ".", "__a__", ""])
def test_invalid_document_id_is_refused(store: Store, id: str) -> None:
    with pytest.raises(ValueError):
        store.commit([Put(Ref("things", id), {"n": 1})])
