"""The store and the queue of a benchmark: the embedded ones in files, or the Firestore emulator as the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.lifecycle.dependencies import Store
from tests.adapters import emulators

PROJECT = "toolboxes-bench"
STORES = ("sqlite", "firestore")


@dataclass(frozen=True)
class Backends:
    """`environment` has a function use the same ones."""

    store: Store
    queue: SqliteQueue
    environment: dict[str, str]


@contextmanager
def backends(kind: str, directory: Path) -> Iterator[Backends]:
    """`kind` is one of STORES. Raises emulators.EmulatorAbsent."""
    queue = str(directory / "queue.db")
    settings = {"QUEUE": f"sqlite:{queue}"}
    if kind == "sqlite":
        path = str(directory / "store.db")
        yield Backends(SqliteStore(path), SqliteQueue(queue), settings | {"STORE": f"sqlite:{path}"})
        return
    with emulators.firestore() as address:
        before = os.environ.get("FIRESTORE_EMULATOR_HOST")
        os.environ["FIRESTORE_EMULATOR_HOST"] = address
        try:
            settings |= {"STORE": "firestore", "FIRESTORE_EMULATOR_HOST": address}
            yield Backends(FirestoreStore(PROJECT), SqliteQueue(queue), settings)
        finally:
            if before is None:
                del os.environ["FIRESTORE_EMULATOR_HOST"]
