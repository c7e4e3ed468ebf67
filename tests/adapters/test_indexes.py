"""The file of Firestore's indexes, the check that compares it with queries, and the security rules."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.lifecycle.dependencies import Put, Query, Ref
from tests.adapters.indexes import FILE, IndexedStore, missing

TOOLBOXES, INSTANCES = "account_tool_environments", "account_tool_instances"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def declared(*indexes: str, **overrides: list[str]) -> dict[str, Any]:
    """A file's content: composite indexes such as "a b -c" on `things`, and overrides of single-field indexes."""
    direction = {True: "DESCENDING", False: "ASCENDING"}
    return {
        "indexes": [
            {
                "collectionGroup": "things",
                "queryScope": "COLLECTION",
                "fields": [{"fieldPath": f.lstrip("-"), "order": direction[f[0] == "-"]} for f in index.split()],
            }
            for index in indexes
        ],
        "fieldOverrides": [
            {
                "collectionGroup": "things",
                "fieldPath": field,
                "indexes": [{"order": order, "queryScope": "COLLECTION"} for order in orders],
            }
            for field, orders in overrides.items()
        ],
    }


def query(*equal: str, order_by: str | None = None, descending: bool = False, at_most: bool = False) -> Query:
    where = [(field, "==", 1) for field in equal] + [(str(order_by), "<=", 1)] * at_most
    return Query("a/b/things", tuple(where), order_by, descending)


@pytest.mark.parametrize(
    "answered",
    [
        query(),
        query("a"),
        query("a", "b"),
        query("a", order_by="a"),
        query(order_by="c"),
        query(order_by="c", descending=True),
        query(order_by="c", descending=True, at_most=True),
    ],
)
def test_one_field_or_equalities_need_no_composite_index(answered: Query) -> None:
    assert missing(answered, declared()) is None


@pytest.mark.parametrize(
    ("searched", "index"),
    [
        (query("a", order_by="c"), "a c"),
        (query("a", order_by="c", descending=True), "a -c"),
        (query("b", "a", order_by="c", descending=True), "a b -c"),
        (query("a", order_by="c", at_most=True), "a c"),
        (query("a", descending=True), "a -__name__"),
    ],
)
def test_equality_with_another_order_needs_a_composite_index(searched: Query, index: str) -> None:
    needed = ", ".join(f"{f.lstrip('-')} {'DESCENDING' if f[0] == '-' else 'ASCENDING'}" for f in index.split())
    assert missing(searched, declared()) == f"things: {needed}"
    assert missing(searched, declared(index)) is None


@pytest.mark.parametrize("index", ["a c", "b -c", "a b x -c", "a b -c x", "-c a b", "a -c b", "a b -d"])
def test_index_on_other_fields_or_orders_does_not_serve(index: str) -> None:
    searched = query("a", "b", order_by="c", descending=True)
    assert missing(searched, declared(index)) == "things: a ASCENDING, b ASCENDING, c DESCENDING"


def test_indexes_with_one_order_are_merged() -> None:
    searched = query("a", "b", order_by="c", descending=True)
    assert missing(searched, declared("a -c", "b -c")) is None
    assert missing(searched, declared("a -c", "b c")) is not None


def test_index_of_another_collection_or_scope_does_not_serve() -> None:
    searched = query("a", order_by="c")
    for key, value in (("collectionGroup", "others"), ("queryScope", "COLLECTION_GROUP")):
        content = declared("a c")
        content["indexes"][0][key] = value
        assert missing(searched, content) is not None


def test_collection_group_needs_a_declared_index() -> None:
    searched = Query("things", (("c", "<=", 1),), "c", group=True)
    assert missing(searched, declared()) == "things: c ASCENDING"
    content = declared(c=["ASCENDING"])
    assert missing(searched, content) is not None
    content["fieldOverrides"][0]["indexes"][0]["queryScope"] = "COLLECTION_GROUP"
    assert missing(searched, content) is None


def test_exempted_field_has_no_single_field_index() -> None:
    assert missing(query("a"), declared(a=[])) == "things: a ASCENDING"
    assert missing(query("a", "b"), declared(a=[])) is not None
    assert missing(query("a", "b"), declared("a b", a=[], b=[])) is None
    assert missing(query("a", "b"), declared("a -b", a=[], b=[])) is not None, "its order by id is descending"
    assert missing(query(order_by="a", descending=True), declared(a=["ASCENDING"])) == "things: a DESCENDING"
    assert missing(query(order_by="a", descending=True), declared(a=["DESCENDING"])) is None
    assert missing(query("m.a"), declared(m=[])) is not None
    assert missing(query("m.a"), declared(**{"m": [], "m.a": ["ASCENDING"]})) is None


# The file.

CONTENT = json.loads(FILE.read_text())


@pytest.mark.parametrize(
    "searched",
    [
        Query(TOOLBOXES, (("account", "==", "x"), ("deprovisioned_at", "==", None)), "created_at", descending=True),
        Query(TOOLBOXES, (("deprovisioned_at", "==", None),), "created_at", descending=True),
        Query(TOOLBOXES, (("status", "==", "active"),)),
        Query(TOOLBOXES, (("due_at", "<=", NOW),), "due_at"),
        Query(INSTANCES, (("toolbox_id", "==", "x"), ("deleted_at", "==", None)), "created_at", descending=True),
        Query(INSTANCES, (("due_at", "<=", NOW),), "due_at"),
        Query(INSTANCES, (("toolbox_id", "in", ["x", "y"]), ("updated_at", ">=", NOW)), "updated_at"),
        Query(f"{INSTANCES}/x/events", order_by="time", descending=True),
        Query(f"{TOOLBOXES}/x/events", order_by="time", descending=True),
        Query("events", (("deliver_at", "<=", NOW),), "deliver_at", group=True),
    ],
    ids=lambda searched: f"{searched.collection} {searched.where} {searched.order_by}",
)
def test_file_has_the_indexes_that_each_query_needs(searched: Query) -> None:
    assert missing(searched, CONTENT) is None


def test_every_collection_with_expire_at_has_a_ttl_policy() -> None:
    expiring = {override["collectionGroup"] for override in CONTENT["fieldOverrides"] if override.get("ttl")}
    assert expiring == {INSTANCES, "events", "rates", "requests", "rotations", "webhook_messages"}
    assert all(override["fieldPath"] == "expire_at" for override in CONTENT["fieldOverrides"] if override.get("ttl"))


def test_indexed_store_fails_a_query_without_an_index() -> None:
    store = IndexedStore(SqliteStore(":memory:"))
    store.commit([Put(Ref(TOOLBOXES, "a"), {"account": "x", "name": "n"})])
    assert store.query(Query(TOOLBOXES, (("account", "==", "x"),))) == store.get([Ref(TOOLBOXES, "a")])
    with pytest.raises(AssertionError, match="account_tool_environments: account ASCENDING, name ASCENDING"):
        store.query(Query(TOOLBOXES, (("account", "==", "x"),), "name"))


@pytest.mark.emulator
def test_rules_refuse_every_client(project: str, firestore_emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    FirestoreStore(project).commit([Put(Ref("things", "a"), {"n": 1})])
    document = f"http://{firestore_emulator}/v1/projects/{project}/databases/(default)/documents/things/a"
    assert status("GET", document) == 200
    rules = {"rules": {"files": [{"name": "rules", "content": (FILE.parent / "firestore.rules").read_text()}]}}
    assert status("PUT", f"http://{firestore_emulator}/emulator/v1/projects/{project}:securityRules", rules) == 200
    assert [status(method, document, {}) for method in ("GET", "PATCH", "DELETE")] == [403, 403, 403]


def status(method: str, url: str, body: object = None) -> int:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), method=method)
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            code: int = answer.status
            return code
    except urllib.error.HTTPError as refusal:
        return refusal.code
