"""Both implementations of the store and of the queue; each test gets an empty one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from functions.adapters.queue_pubsub import PubsubQueue
from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.lifecycle.dependencies import Queue, Store
from tests.adapters import emulators
from tests.adapters.pushes import PushEndpoint, through_pubsub, through_relay

EMULATED = pytest.mark.emulator


@pytest.fixture(scope="session")
def firestore_emulator() -> Iterator[str]:
    with emulators.firestore() as address:
        yield address


@pytest.fixture(scope="session")
def pubsub_emulator() -> Iterator[str]:
    with emulators.pubsub() as address:
        yield address


@pytest.fixture
def project() -> str:
    """A project of the test's own, because the emulators share documents and topics within a project only."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture(params=["memory", "file", pytest.param("firestore", marks=EMULATED)])
def store(request: pytest.FixtureRequest, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "firestore":
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", request.getfixturevalue("firestore_emulator"))
        return FirestoreStore(project)
    return SqliteStore(":memory:" if request.param == "memory" else str(tmp_path / "store.db"))


@pytest.fixture(params=["sqlite", pytest.param("pubsub", marks=EMULATED)])
def queue_and_pushes(
    request: pytest.FixtureRequest, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Queue, PushEndpoint]]:
    """A queue and the endpoint that its messages are pushed to."""
    if request.param == "pubsub":
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", request.getfixturevalue("pubsub_emulator"))
        with through_pubsub(project, "converge") as endpoint:
            yield PubsubQueue(project, "converge"), endpoint
    else:
        queue = SqliteQueue(str(tmp_path / "queue.db"))
        with through_relay(queue) as endpoint:
            yield queue, endpoint
