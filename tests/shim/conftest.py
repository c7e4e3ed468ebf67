from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shim import identity
from shim.__main__ import assemble, server_for
from shim.contract import names, tokens
from shim.identity import Configuration
from tests.shim.caller import Caller, TlsCaller
from tests.shim.control_plane import FakeControlPlane
from tests.shim.droplet import Droplet, Registry, busybox_image, free_port, registry_serving
from tests.shim.fake_engine import FakeEngine
from tests.shim.functions_client import client as client
from tests.shim.functions_client import client_of as client_of
from tests.shim.functions_client import real_app as real_app
from tests.shim.functions_client import serve as serve
from tests.shim.own_engine import OwnEngine


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture
def toolbox_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def fake_engine(tmp_path: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(tmp_path / "engine.sock")
    yield engine
    engine.shutdown()
    engine.server_close()


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[FakeControlPlane]:
    fake = FakeControlPlane(tmp_path)
    yield fake
    fake.shutdown()
    fake.server_close()


@pytest.fixture
def caller(tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey, fake_engine: FakeEngine) -> Caller:
    """A caller of the real app, whose engine gives the answers that the test sets."""
    pem = identity.ensure_certificate(tmp_path, toolbox_id)
    public = key.public_key()
    app = assemble(Configuration(toolbox_id, {tokens.kid(public): public}), pem, fake_engine.url).app
    return Caller(key, tokens.audience(toolbox_id, identity.fingerprint(pem)), app)


@pytest.fixture(scope="session")
def engine_socket() -> str:
    """The URL of the Docker Engine that tests/run starts. These tests fail without one."""
    socket = os.environ.get("TOOLBOXES_ENGINE_SOCKET")
    assert socket, "TOOLBOXES_ENGINE_SOCKET names no Docker Engine; tests/run starts one"
    return socket if socket.startswith("unix://") else f"unix://{socket}"


@pytest.fixture(scope="session")
def busybox(engine_socket: str) -> Iterator[str]:
    """An image that contains only busybox. It has no command, and its labels imitate those of the shim."""
    yield from busybox_image(engine_socket)


@pytest.fixture
def droplet(engine_socket: str, tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey) -> Iterator[Droplet]:
    """The real shim on a real engine over real TLS."""
    yield from droplet_on(engine_socket, tmp_path, toolbox_id, key)


@pytest.fixture(scope="session")
def own_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    engine = OwnEngine(tmp_path_factory.mktemp("engine"))
    yield engine
    engine.close()


@pytest.fixture
def own_droplet(own_engine: OwnEngine, tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey) -> Iterator[Droplet]:
    """The real shim on an engine that only these tests use."""
    yield from droplet_on(own_engine.url, tmp_path, toolbox_id, key)


@pytest.fixture
def small_droplet(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey
) -> Iterator[Droplet]:
    """The real shim on an engine with a disk of 24 MiB."""
    # The path of a socket has at most 107 characters, and the path below the test's own directory would be longer.
    engine = OwnEngine(tmp_path_factory.mktemp("small"), disk="24m")
    yield from droplet_on(engine.url, tmp_path / "small", toolbox_id, key)
    engine.close()


def droplet_on(engine: str, directory: Path, toolbox_id: str, key: Ed25519PrivateKey) -> Iterator[Droplet]:
    pem = identity.ensure_certificate(directory, toolbox_id)
    public = key.public_key()
    port = free_port()
    app = assemble(Configuration(toolbox_id, {tokens.kid(public): public}), pem, engine).app
    served = server_for(app, pem, ("127.0.0.1", port))
    served.prepare()
    thread = threading.Thread(target=served.serve)
    thread.start()
    audience = tokens.audience(toolbox_id, identity.fingerprint(pem))
    try:
        made = Droplet(TlsCaller(key, audience, port), engine, toolbox_id)
        yield made
    finally:
        # Threads of the server that still run would keep the test process from exiting.
        served.stop()
        thread.join()
    made.clean()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    yield from registry_serving(tmp_path)


@pytest.fixture
def closed_registry(tmp_path: Path) -> Iterator[Registry]:
    """A registry that requires the user `u` and the password `s3cret`."""
    hashed = "$2b$05$oSMMpOQDDmLAByA2YYTBGusjMCyHI60mTnzt0mTtH7Nej3L.cOw9a"
    (tmp_path / "htpasswd").write_text(f"u:{hashed}\n")
    yield from registry_serving(tmp_path, f"auth: {{htpasswd: {{realm: probe, path: {tmp_path}/htpasswd}}}}\n")


@pytest.fixture
def name(toolbox_id: str) -> str:
    return names.container_name(str(uuid.uuid4()), 1)
