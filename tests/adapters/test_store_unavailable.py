"""Stores that do not answer, and a store file that several processes use at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from functions.adapters.store_firestore import COMMIT_SECONDS, GET_SECONDS, QUERY_SECONDS, FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.domain import errors
from functions.lifecycle.dependencies import Create, Put, Query, Ref, Replace, Store
from tests.adapters.emulators import free_port
from tests.adapters.processes import python

A = Ref("things", "a")
# What a busy machine may add to a deadline.
SLACK_SECONDS = 15


def calls(store: Store) -> list[tuple[float, Callable[[], object]]]:
    """Each call, with the seconds after which it must have raised Unavailable."""
    return [
        (GET_SECONDS, lambda: store.get([A])),
        (COMMIT_SECONDS, lambda: store.commit([Put(A, {"n": 1})])),
        (QUERY_SECONDS, lambda: store.query(Query("things"))),
    ]


def assert_all_time_out(store: Store) -> None:
    outcomes: dict[float, object] = {}

    def expect_timeout(limit: float, call: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            call()
        except Exception as error:
            outcomes[limit + len(outcomes) / 1e6] = (type(error), time.monotonic() - began < limit + SLACK_SECONDS)

    threads = [threading.Thread(target=expect_timeout, args=call) for call in calls(store)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(outcomes.values()) == [(errors.Unavailable, True)] * 3


def test_firestore_that_refuses_connections_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    assert_all_time_out(FirestoreStore("project"))


def test_firestore_that_never_answers_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        assert_all_time_out(FirestoreStore("project"))


def test_client_reconnects_to_firestore_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC's default is after 1, 2.6, 5.2 and 9.3 s, and then ever more rarely, up to every two minutes."""
    attempts: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as broken:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{broken.getsockname()[1]}")
        broken.settimeout(QUERY_SECONDS)

        def hang_up() -> None:
            with pytest.raises(TimeoutError):
                while True:
                    broken.accept()[0].close()
                    attempts.append(time.monotonic())

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(errors.Unavailable):
            FirestoreStore("project").query(Query("things"))
        recent = [at for at in attempts if at > time.monotonic() - QUERY_SECONDS]
        broken.settimeout(0.01)
        thread.join()
    assert len(recent) >= 7


def test_constructing_a_client_neither_imports_grpc_nor_connects() -> None:
    script = """import sys
        from functions.adapters.store_firestore import FirestoreStore
        from functions.adapters.queue_pubsub import PubsubQueue
        FirestoreStore("project"), PubsubQueue("project", "converge")
        print({"grpc", "google.api_core", "google.auth", "google.protobuf"} & set(sys.modules))"""
    assert python(script).communicate()[0] == "set()\n"


@pytest.mark.parametrize("path", ["no such folder/store.db", "."])
def test_store_file_that_cannot_be_opened_is_unavailable(tmp_path: Path, path: str) -> None:
    with pytest.raises(errors.Unavailable):
        SqliteStore(str(tmp_path / path)).get([A])


def test_file_locked_by_another_process_can_be_read_but_not_written(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = SqliteStore(path)
    store.commit([Create(A, {"n": 1})])
    script = """import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.read()"""
    with python(script, path) as locking:
        assert locking.stdout is not None
        assert locking.stdout.readline() == "locked\n"
        began = time.monotonic()
        with pytest.raises(errors.Unavailable):
            store.commit([Put(A, {"n": 2})])
        assert time.monotonic() - began < COMMIT_SECONDS + SLACK_SECONDS
        assert [found and found.data for found in store.get([A])] == [{"n": 1}]
        locking.communicate()
    store.commit([Put(A, {"n": 3})])


def test_reader_in_another_process_does_not_block_a_writer(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    store = SqliteStore(path)
    store.commit([Create(A, {"n": 1})])
    script = """import sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("BEGIN")
        print(connection.execute("SELECT count(*) FROM documents").fetchone()[0], flush=True)
        sys.stdin.read()"""
    with python(script, path) as reading:
        assert reading.stdout is not None
        assert reading.stdout.readline() == "1\n"
        store.commit([Put(A, {"n": 2})])
        reading.communicate()


def test_many_stores_can_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Each store has a connection, as processes do. With SQLite's own timeout, one round in ten fails here."""
    found: list[object] = []
    for number in range(60):
        together = threading.Barrier(8)

        def open_it(path: str, together: threading.Barrier = together) -> None:
            store = SqliteStore(path)
            together.wait()
            found.append(store.get([A]))

        threads = [threading.Thread(target=open_it, args=(str(tmp_path / f"{number}.db"),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[None]] * 480


def test_file_that_is_no_database_raises_another_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(Exception, match="not a database"):
        SqliteStore(str(path)).get([A])


def test_processes_on_a_new_file_lose_no_increment(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    script = """import sys
        from functions.adapters.store_sqlite import SqliteStore
        from functions.domain.errors import Conflict
        from functions.lifecycle.dependencies import Create, Ref, Replace
        store, ref = SqliteStore(sys.argv[1]), Ref("things", "a")
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            store.commit([Create(ref, {"n": 0})])
        except Conflict:
            pass
        done = 0
        while done < 20:
            [found] = store.get([ref])
            try:
                store.commit([Replace(ref, {"n": found.data["n"] + 1}, found.version)])
            except Conflict:
                continue
            done += 1"""
    workers = [python(script, path) for _ in range(6)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert [worker.wait() for worker in workers] == [0] * 6
    [found] = SqliteStore(path).get([A])
    assert found is not None
    assert found.data == {"n": 120}


def test_document_of_another_process_can_be_read_and_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    script = """import sys
        from functions.adapters.store_sqlite import SqliteStore
        from functions.lifecycle.dependencies import Create, Ref
        SqliteStore(sys.argv[1]).commit([Create(Ref("things", "a"), {"n": 1})])"""
    store = SqliteStore(path)
    assert store.get([A]) == [None]
    assert python(script, path).wait() == 0
    [found] = store.get([A])
    assert found is not None
    store.commit([Replace(A, {"n": 2}, found.version)])
