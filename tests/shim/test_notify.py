"""A hint is sent when a container changes without a command. The hint is best effort: nothing depends on it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography import x509

from shim import identity
from shim.agent import EVENTS, NOTIFY_EVERY_SECONDS, ControlPlane, Notifier
from shim.containers import Locks
from shim.contract import names, routes
from shim.contract.tokens import Claims
from shim.docker import Engine
from tests.shim.control_plane import FakeControlPlane
from tests.shim.fake_engine import FakeEngine, Handler

INSTANCE = str(uuid.uuid4())
END = object()


class Events:
    """The engine's stream of events, which contains the events that a test adds."""

    def __init__(self, engine: FakeEngine) -> None:
        self.queue: Queue[Any] = Queue()
        self.opened = threading.Semaphore(0)
        self.filters: dict[str, list[str]] = {}
        engine.on(r"GET /events", self.stream)

    def stream(self, handler: Handler) -> None:
        self.filters = json.loads(parse_qs(urlsplit(handler.path).query)["filters"][0])
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.flush()
        self.opened.release()
        while (event := self.queue.get()) is not END:
            handler.wfile.write(json.dumps(event).encode() + b"\n")

    def happen(self, action: str, name: str) -> None:
        self.queue.put({"Action": action, "Actor": {"ID": "5" * 64, "Attributes": {"name": name}}})


@pytest.fixture
def events(fake_engine: FakeEngine) -> Iterator[Events]:
    made = Events(fake_engine)
    yield made
    made.queue.put(END)


@pytest.fixture
def locks() -> Locks:
    return Locks(time.time)


@pytest.fixture
def started(
    tmp_path: Path,
    toolbox_id: str,
    control_plane: FakeControlPlane,
    fake_engine: FakeEngine,
    events: Events,
    locks: Locks,
) -> Callable[[], None]:
    """Starts the notifier and waits for the hint that it sends at its start."""
    pem = identity.ensure_certificate(tmp_path / "state", toolbox_id)
    caller = ControlPlane(toolbox_id, pem, control_plane.authorities)
    notifier = Notifier(Engine(fake_engine.url), locks, toolbox_id, caller, control_plane.url("notify"))

    def begin() -> None:
        for work in (notifier.watch, notifier.send):
            threading.Thread(target=work, daemon=True).start()
        assert events.opened.acquire(timeout=10)
        assert control_plane.answered.acquire(timeout=10)

    return begin


def test_death_of_a_container_sends_an_empty_signed_hint(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane, toolbox_id: str, tmp_path: Path
) -> None:
    started()
    events.happen("die", names.container_name(INSTANCE, 1))
    assert control_plane.answered.acquire(timeout=10)
    path, headers, body = control_plane.requested[-1]
    assert (path, body) == ("/notify", b"")
    shown = identity.pem_parts(tmp_path / "state" / identity.CERTIFICATE_FILE)[0]
    key: Any = x509.load_pem_x509_certificate(shown.encode()).public_key()
    claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), key, ["ES256"], audience="notify")
    assert (claims["sub"], claims["exp"] - claims["iat"]) == (toolbox_id, 60)
    assert events.filters == {
        "type": ["container"],
        "label": [f"{names.LABEL_TOOLBOX}={toolbox_id}"],
        "event": list(EVENTS),
    }


def test_hint_waits_until_an_inspect_shows_the_change(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane, fake_engine: FakeEngine
) -> None:
    shown = threading.Event()

    def inspected(handler: Handler) -> None:
        shown.wait()
        handler.say(200, {"Id": "5" * 64})

    fake_engine.on(f"GET /containers/{'5' * 64}/json", inspected)
    started()
    events.happen("die", names.container_name(INSTANCE, 1))
    assert not control_plane.answered.acquire(timeout=NOTIFY_EVERY_SECONDS + 0.5)
    shown.set()
    assert control_plane.answered.acquire(timeout=10)


def test_many_events_are_one_hint_a_second(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane
) -> None:
    started()
    began = time.monotonic()
    while time.monotonic() - began < 2.5 * NOTIFY_EVERY_SECONDS:
        events.happen("die", names.container_name(INSTANCE, 1))
        time.sleep(0.01)
    # The hint at the start, and at most one for each second.
    assert 2 <= len(control_plane.requested) <= 4


def test_event_of_a_running_command_sends_no_hint(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane, locks: Locks
) -> None:
    started()
    with locks.hold(INSTANCE, Claims("1", time.time() + 60, routes.CONTRACT)):
        events.happen("die", names.container_name(INSTANCE, 1))
        assert not control_plane.answered.acquire(timeout=NOTIFY_EVERY_SECONDS + 0.5)
    events.happen("die", names.container_name(INSTANCE, 1))
    assert control_plane.answered.acquire(timeout=10)


def test_rename_by_hand_sends_a_hint(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane
) -> None:
    started()
    events.happen("rename", "kept-by-hand")
    assert control_plane.answered.acquire(timeout=10)


def test_engine_restart_sends_a_hint_and_is_followed_again(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane
) -> None:
    started()
    events.queue.put(END)
    assert events.opened.acquire(timeout=10)
    assert control_plane.answered.acquire(timeout=10)
    events.happen("die", names.container_name(INSTANCE, 1))
    assert control_plane.answered.acquire(timeout=10)


def test_refused_hint_is_dropped_and_the_next_is_sent(
    started: Callable[[], None], events: Events, control_plane: FakeControlPlane
) -> None:
    control_plane.answers = [(429, None)]
    started()
    time.sleep(2 * NOTIFY_EVERY_SECONDS)
    assert len(control_plane.requested) == 1
    events.happen("die", names.container_name(INSTANCE, 1))
    assert control_plane.answered.acquire(timeout=10)
