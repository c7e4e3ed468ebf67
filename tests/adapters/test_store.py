"""The contract of both stores: one suite for SQLite in memory, SQLite in a file, and Firestore's emulator."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from functions.domain import errors
from functions.lifecycle.dependencies import Create, Delete, Put, Ref, Replace, Snapshot, Store, Version, Write

A, B, C = Ref("things", "a"), Ref("things", "b"), Ref("things", "c")


def read(store: Store, ref: Ref) -> Snapshot:
    [found] = store.get([ref])
    assert found is not None
    return found


def data(store: Store, *refs: Ref) -> list[dict[str, Any] | None]:
    return [found.data if found else None for found in store.get(refs)]


def refused(store: Store, *writes: Write) -> None:
    with pytest.raises(errors.Conflict):
        store.commit(writes)


def test_get_returns_documents_in_request_order_and_none_for_missing(store: Store) -> None:
    store.commit([Put(A, {"n": 1}), Put(C, {"n": 3})])
    found = store.get([C, B, A, C])
    assert [snapshot and (snapshot.ref, snapshot.data["n"]) for snapshot in found] == [(C, 3), None, (A, 1), (C, 3)]
    assert store.get([]) == []


def test_subcollections_of_two_documents_are_separate(store: Store) -> None:
    events = [Ref(f"account_tool_instances/{id}/events", "1") for id in ("one", "two")]
    store.commit([Create(events[0], {"n": 1}), Create(events[1], {"n": 2}), Create(Ref("events", "1"), {"n": 3})])
    assert data(store, *events, Ref("events", "1")) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_create_is_refused_where_the_document_exists(store: Store) -> None:
    store.commit([Create(A, {"n": 1})])
    refused(store, Create(A, {"n": 2}))
    assert data(store, A) == [{"n": 1}]
    store.commit([Delete(A)])
    store.commit([Create(A, {"n": 3})])
    assert data(store, A) == [{"n": 3}]


def test_exactly_one_of_many_concurrent_creates_succeeds(store: Store) -> None:
    outcomes: list[object] = []

    def create(n: int) -> None:
        try:
            store.commit([Create(A, {"n": n})])
        except errors.Conflict:
            outcomes.append(None)
        else:
            outcomes.append(n)

    run_together([lambda n=n: create(n) for n in range(8)])
    [winner] = [outcome for outcome in outcomes if outcome is not None]
    assert len(outcomes) == 8
    assert data(store, A) == [{"n": winner}]


def test_replace_overwrites_named_keys_and_leaves_the_others(store: Store) -> None:
    version = store.commit([Create(A, {"map": {"a": 1, "b": 2}, "kept": 1, "list": [1, 2], "a.b": 1})])
    store.commit([Replace(A, {"map": {"c": 3}, "list": [], "a.b": 2, "new": None}, version)])
    assert data(store, A) == [{"map": {"c": 3}, "kept": 1, "list": [], "a.b": 2, "new": None}]


def test_replace_without_keys_is_an_error(store: Store) -> None:
    version = store.commit([Create(A, {"n": 1})])
    with pytest.raises(ValueError):
        store.commit([Replace(A, {}, version)])


def test_replace_is_refused_once_the_document_has_changed(store: Store) -> None:
    version = store.commit([Create(A, {"n": 1})])
    store.commit([Replace(A, {"n": 2}, version)])
    refused(store, Replace(A, {"n": 3}, version))
    assert data(store, A) == [{"n": 2}]


def test_replace_of_a_deleted_document_is_refused(store: Store) -> None:
    version = store.commit([Create(A, {"n": 1})])
    store.commit([Delete(A)])
    refused(store, Replace(A, {"n": 2}, version))
    assert data(store, A) == [None]


def test_recreated_document_never_has_an_earlier_version(store: Store) -> None:
    version = store.commit([Create(A, {"n": 1})])
    store.commit([Delete(A)])
    store.commit([Create(A, {"n": 1})])
    refused(store, Replace(A, {"n": 2}, version))


def test_put_overwrites_the_whole_document(store: Store) -> None:
    for _ in range(2):
        store.commit([Put(A, {"n": 1, "m": {"a": 1}})])
    store.commit([Put(A, {"n": 2})])
    assert data(store, A) == [{"n": 2}]
    store.commit([Put(A, {})])
    assert data(store, A) == [{}]


def test_delete_with_and_without_a_version(store: Store) -> None:
    store.commit([Delete(A)])
    version = store.commit([Create(A, {"n": 1}), Create(B, {"n": 1})])
    newer = store.commit([Replace(A, {"n": 2}, version)])
    refused(store, Delete(A, version))
    assert data(store, A) == [{"n": 2}]
    store.commit([Delete(A, newer), Delete(B)])
    assert data(store, A, B) == [None, None]
    refused(store, Delete(A, newer))


def test_commit_is_stored_as_a_whole_or_not_at_all(store: Store) -> None:
    old = store.commit([Create(A, {"n": 0}), Create(B, {"n": 0})])
    new = store.commit([Replace(A, {"n": 1}, old), Replace(B, {"n": 1}, old)])
    harmless: list[Write] = [Put(C, {"n": 9}), Replace(A, {"n": 9}, new)]
    refused(store, *harmless, Create(B, {"n": 9}))
    refused(store, Create(B, {"n": 9}), *harmless)
    refused(store, *harmless, Delete(B, old))
    refused(store, *harmless, Replace(B, {"n": 9}, old))
    refused(store, Put(C, {"n": 9}), Create(B, {"n": 9}), Replace(A, {"n": 9}, old))
    assert data(store, A, B, C) == [{"n": 1}, {"n": 1}, None]
    store.commit([*harmless, Delete(B, new)])
    assert data(store, A, B, C) == [{"n": 9}, None, {"n": 9}]


def test_commit_that_writes_a_document_twice_is_an_error(store: Store) -> None:
    with pytest.raises(ValueError):
        store.commit([Put(A, {"n": 1}), Delete(A)])
    assert data(store, A) == [None]


def test_version_of_a_commit_replaces_each_document_it_wrote(store: Store) -> None:
    version = store.commit([Create(A, {"n": 1}), Put(B, {"n": 1})])
    assert read(store, A).version == version == read(store, B).version
    # The second leaves B as it was; Firestore then leaves B's update_time too.
    for n in (2, 3, 3):
        wait_for_another_update_time()
        version = store.commit([Replace(A, {"n": n}, version), Replace(B, {"n": 1}, version), Put(C, {"n": 1})])
    version = store.commit([Replace(A, {"n": 4}, version)])
    assert data(store, A, B) == [{"n": 4}, {"n": 1}]
    assert read(store, A).version == version


def test_version_of_a_commit_with_a_deletion_replaces_the_others(store: Store) -> None:
    version = store.commit([Create(A, {"n": 1}), Create(B, {"n": 1})])
    version = store.commit([Delete(B, version), Replace(A, {"n": 2}, version)])
    store.commit([Replace(A, {"n": 3}, version)])
    assert data(store, A, B) == [{"n": 3}, None]


def test_version_of_a_read_document_replaces_it(store: Store) -> None:
    store.commit([Create(A, {"n": 1})])
    store.commit([Replace(A, {"n": 2}, read(store, A).version)])
    assert data(store, A) == [{"n": 2}]


def test_no_increment_of_eight_threads_is_lost(store: Store) -> None:
    store.commit([Create(A, {"n": 0})])

    def increment() -> None:
        random_numbers = random.Random()
        for _ in range(20):
            while not replaced(store, read(store, A)):
                time.sleep(random_numbers.uniform(0, 0.02))

    run_together([increment] * 8)
    assert data(store, A) == [{"n": 160}]


def replaced(store: Store, found: Snapshot) -> Version | None:
    try:
        return store.commit([Replace(A, {"n": found.data["n"] + 1}, found.version)])
    except errors.Conflict:
        return None


def run_together(jobs: list[Any]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_for_another_update_time() -> None:
    time.sleep(0.002)
