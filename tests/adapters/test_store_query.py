"""Queries of both stores: which documents they find, in which order, and page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.lifecycle.dependencies import MAX_IN, Put, Query, Ref, Replace, Store

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def put(store: Store, documents: dict[str, dict[str, Any]], collection: str = "things") -> None:
    store.commit([Put(Ref(collection, id), data) for id, data in documents.items()])


def ids(store: Store, *where: tuple[str, str, Any], order_by: str | None = None, **options: Any) -> str:
    return "".join(found.ref.id for found in store.query(Query("things", where, order_by, **options)))


def test_query_returns_documents_as_get_does(store: Store) -> None:
    put(store, {"a": {"n": 1, "at": NOON}})
    [found] = store.query(Query("things"))
    assert [found] == store.get([Ref("things", "a")])
    assert store.query(Query("nothing")) == []


def test_query_of_a_collection_leaves_out_its_subcollections(store: Store) -> None:
    put(store, {"a": {"n": 1}})
    put(store, {"1": {"n": 2}, "2": {"n": 3}}, "things/a/events")
    put(store, {"3": {"n": 4}}, "things/b/events")
    assert ids(store) == "a"
    events = store.query(Query("things/a/events", order_by="n", descending=True))
    assert [found.ref for found in events] == [Ref("things/a/events", "2"), Ref("things/a/events", "1")]


def test_group_query_covers_all_collections_of_a_name(store: Store) -> None:
    put(store, {"1": {"n": 3}, "2": {"n": 1}}, "things/a/events")
    put(store, {"1": {"n": 2}, "3": {"n": None}}, "others/b/events")
    put(store, {"4": {"n": 1}}, "things/a/moreevents")
    put(store, {"5": {"n": 1}}, "things/a/events/1/notes")
    found = store.query(Query("events", (("n", "<=", 3),), "n", group=True))
    assert [(snapshot.ref.collection, snapshot.ref.id) for snapshot in found] == [
        ("things/a/events", "2"), ("others/b/events", "1"), ("things/a/events", "1"),
    ]  # fmt: skip
    assert store.get([found[0].ref]) == [found[0]]
    store.commit([Replace(found[0].ref, {"n": 0}, found[0].version)])
    assert len(store.query(Query("events", (("n", "<=", 3),), "n", limit=2, group=True))) == 2


def test_total_counts_documents_with_the_field_and_sums_its_numbers(store: Store) -> None:
    assert store.total(Query("things", (("a", "==", "x"),)), "n") == (0, 0)
    rows: list[dict[str, Any]] = [{"n": 3}, {"n": 4}, {"n": None}, {"n": "5"}, {}, {"n": 6, "gone": NOON}]
    put(store, {str(number): {"a": "x", "gone": None, **row} for number, row in enumerate(rows)})
    put(store, {"other": {"a": "y", "gone": None, "n": 7}})
    assert store.total(Query("things", (("a", "==", "x"), ("gone", "==", None))), "n") == (4, 7)
    assert store.total(Query("things"), "n") == (6, 20)


def test_every_operator(store: Store) -> None:
    put(store, {id: {"n": n} for id, n in (("a", 1), ("b", 2), ("c", 2.0), ("d", 3.5), ("e", "2"), ("f", None))})
    assert ids(store, ("n", "==", 2)) == "bc"
    assert ids(store, ("n", "<", 2), order_by="n") == "a"
    assert ids(store, ("n", "<=", 2), order_by="n") == "abc"
    assert ids(store, ("n", ">", 2), order_by="n") == "d"
    assert ids(store, ("n", ">=", 2), order_by="n") == "bcd"
    assert ids(store, ("n", ">", 1), ("n", "<", 3.5), order_by="n") == "bc"
    assert ids(store, ("n", ">=", ""), order_by="n") == "e"


def test_in_finds_what_equals_one_of_the_values(store: Store) -> None:
    put(store, {id: {"s": s, "n": n} for id, s, n in (("a", "x", 1), ("b", "y", 2), ("c", "z", 3), ("d", "x", 4))})
    put(store, {"e": {"n": 5}, "f": {"s": None, "n": 6}})
    assert ids(store, ("s", "in", ["x", "z", "absent"])) == "acd"
    assert ids(store, ("s", "in", ["x", "y"]), ("n", ">=", 2), order_by="n") == "bd"
    assert ids(store, ("s", "in", ["x", "y"]), ("n", ">=", 2), order_by="n", descending=True, limit=1) == "d"
    assert ids(store, ("n", "in", [1, 3])) == "ac"


def test_query_of_some_fields_reads_no_others(store: Store) -> None:
    put(store, {"a": {"n": 1, "m": {"x": 1, "y": 2}, "s": "t"}, "b": {"n": 2}})
    found = store.query(Query("things", order_by="n", fields=("n", "m")))
    assert [document.data for document in found] == [{"n": 1, "m": {"x": 1, "y": 2}}, {"n": 2}]
    assert [document.data for document in store.query(Query("things", fields=()))] == [{}, {}]
    assert [document.version for document in found] == [document.version for document in store.query(Query("things"))]


def test_times_with_and_without_a_fraction_are_compared_as_times(store: Store) -> None:
    put(store, {"a": {"at": NOON}, "b": {"at": NOON + timedelta(microseconds=1)}, "c": {"at": NOON + timedelta(1)}})
    put(store, {"d": {"at": "2026"}, "e": {"at": None}})
    assert ids(store, ("at", ">=", NOON), order_by="at") == "abc"
    assert ids(store, ("at", ">=", NOON + timedelta(microseconds=1)), order_by="at") == "bc"
    assert ids(store, ("at", "<=", NOON), order_by="at") == "a"
    assert ids(store, ("at", "<=", NOON + timedelta(seconds=0.5)), order_by="at") == "ab"


def test_equality_of_every_type(store: Store) -> None:
    values: dict[str, Any] = {
        "a": None,
        "b": False,
        "c": 0,
        "d": NOON,
        "e": "",
        "f": [],
        "g": {},
        "h": [1],
        "i": {"x": 1},
    }
    put(store, {id: {"v": value} for id, value in values.items()})
    put(store, {"j": {"other": None}})
    for id, value in values.items():
        assert ids(store, ("v", "==", value)) == id


def test_conditions_are_combined_and_nested_fields_are_dotted(store: Store) -> None:
    put(
        store,
        {
            "a": {"lease": {"holder": "x", "until": NOON}, "s": 1},
            "b": {"lease": {"holder": "x"}, "s": 2},
            "c": {"lease": None, "s": 1},
            "d": {"lease": {"holder": None}, "s": 1},
            "e": {"lease": "holder", "s": 1},
        },
    )
    assert ids(store, ("lease.holder", "==", "x")) == "ab"
    assert ids(store, ("lease.holder", "==", "x"), ("s", "==", 1)) == "a"
    assert ids(store, ("lease.holder", "==", None)) == "d"
    assert ids(store, ("lease", "==", None)) == "c"
    assert ids(store, ("lease.until", "<=", NOON), order_by="lease.until") == "a"
    assert ids(store, order_by="lease.holder", descending=True) == "bad"


def test_null_sorts_first_and_documents_without_the_field_are_left_out(store: Store) -> None:
    put(store, {"a": {"at": None}, "b": {"at": NOON}, "c": {}, "d": {"at": NOON - timedelta(microseconds=1)}})
    assert ids(store, order_by="at") == "adb"
    assert ids(store, order_by="at", descending=True) == "bda"
    assert ids(store, ("at", "<=", NOON), order_by="at") == "db"
    assert ids(store, ("at", "==", None)) == "a"


def test_values_are_ordered_by_type_first(store: Store) -> None:
    values = [
        None,
        False,
        True,
        -1,
        0.5,
        1,
        NOON,
        NOON + timedelta(1),
        "",
        "a",
        "b",
        "ü",
        "☃",
        "🧰",
        [],
        [1],
        {},
        {"a": 1},
    ]
    letters = "abcdefghijklmnopqrstuvwxyz"[: len(values)]
    put(store, {id: {"v": value} for id, value in zip(reversed(letters), values, strict=True)})
    assert ids(store, order_by="v") == letters[::-1]
    assert ids(store, order_by="v", descending=True) == letters


def test_query_without_an_order_is_by_id(store: Store) -> None:
    put(store, {id: {"s": id in "acZ"} for id in ["b", "a", "c", "Z", "é", "9"]})
    assert ids(store) == "9Zabcé"
    assert ids(store, ("s", "==", True)) == "Zac"
    assert ids(store, after=("Z",), limit=2) == "ab"
    assert ids(store, after=("ab",)) == "bcé"
    assert ids(store, ("s", "==", True), after=("Z",)) == "ac"


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_neither_skip_nor_repeat_equal_values(store: Store, descending: bool, size: int) -> None:
    times = {"a": NOON, "b": NOON, "c": NOON, "d": NOON + timedelta(1), "e": None, "f": None, "g": NOON - timedelta(1)}
    put(store, {id: {"at": at, "s": 1} for id, at in times.items()})
    put(store, {"x": {"at": NOON, "s": 2}, "y": {"s": 1}})
    found_ids, after = "", None
    for _ in range(10):
        page = store.query(Query("things", (("s", "==", 1),), "at", descending, size, after))
        assert len(page) <= size
        found_ids += "".join(found.ref.id for found in page)
        if len(page) < size:
            break
        after = (page[-1].data["at"], page[-1].ref.id)
    assert found_ids == ("dcbagfe" if descending else "efgabcd")


def test_page_continues_after_a_deleted_document(store: Store) -> None:
    put(store, {id: {"n": 1} for id in "ace"})
    assert ids(store, order_by="n", after=(1, "b")) == "ce"
    assert ids(store, order_by="n", descending=True, after=(1, "b")) == "a"
    assert ids(store, order_by="n", after=(0, "z")) == "ace"


def test_query_returns_at_most_100_documents_by_default(store: Store) -> None:
    put(store, {f"{n:03}": {"n": n} for n in range(101)})
    assert len(store.query(Query("things"))) == 100
    assert len(store.query(Query("things", limit=200))) == 101


@pytest.mark.parametrize(
    "query",
    [
        Query("things", (("n", "<", 1),)),
        Query("things", (("n", "<", 1),), "m"),
        Query("things", (("n", "<=", None),), "n"),
        Query("things", (("n", "in", []),)),
        Query("things", (("n", "in", [*range(MAX_IN + 1)]),)),
        Query("things/a"),
    ],
    ids=["unordered", "in another order", "of null", "in nothing", "in too many", "a document"],
)
def test_query_that_firestore_cannot_answer_is_refused(store: Store, query: Query) -> None:
    put(store, {"a": {"n": 0, "m": 0}})
    with pytest.raises(ValueError):
        store.query(query)
