"""The end of the process: running commands are finished and answered, and idle connections are closed."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shim import identity
from shim.contract import messages, routes, tokens
from tests.shim.caller import TlsCaller
from tests.shim.droplet import free_port
from tests.shim.fake_engine import FakeEngine, Handler
from tests.shim.process import command, configure
from tests.shim.test_engine_faults import inspection

Running = tuple[subprocess.Popen[bytes], TlsCaller]


@pytest.fixture
def running(tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey, fake_engine: FakeEngine) -> Iterator[Running]:
    public, port = key.public_key(), free_port()
    configure(tmp_path, toolbox_id, public)
    audience = tokens.audience(toolbox_id, identity.fingerprint(identity.ensure_certificate(tmp_path, toolbox_id)))
    process = subprocess.Popen(command(tmp_path, fake_engine.url, port), stdout=subprocess.PIPE)
    caller = TlsCaller(key, audience, port)
    for _ in range(200):
        try:
            caller.send("GET", "/health", {}, b"")
            break
        except OSError:
            time.sleep(0.05)
    yield process, caller
    process.kill()
    process.wait()


def test_command_under_way_at_sigterm_is_answered(
    running: Running, fake_engine: FakeEngine, name: str, toolbox_id: str
) -> None:
    process, caller = running
    started, release = threading.Event(), threading.Event()

    def slow(handler: Handler) -> None:
        started.set()
        release.wait(20)
        fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id, "exited")))
        handler.say(204, None)

    fake_engine.on("GET /containers/", (200, inspection(name, toolbox_id)))
    fake_engine.on("POST /containers/c1/stop", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(caller.call, routes.STOP, name, messages.Stop())
        assert started.wait(20)
        process.send_signal(signal.SIGTERM)
        threading.Timer(1, release.set).start()
        assert messages.read(messages.ActionResult, answer.result(20).body).container
    assert process.wait(20) == 0
    with pytest.raises(OSError):
        caller.send("GET", "/health", {}, b"")
