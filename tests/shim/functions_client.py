"""Fixtures with the functions' own client, connected over TLS to a shim or to a server that imitates one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Flask

from functions.adapters.shim import ShimClient, ShimClients
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from shim import identity
from shim.__main__ import assemble, server_for
from shim.contract import routes, tokens
from shim.identity import Configuration
from shim.server import Server
from tests.shim.fake_engine import FakeEngine

ADDRESSES = (f"127.0.7.{number}" for number in itertools.count(1))
Serve = Callable[[Flask], str]


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=30)


@pytest.fixture
def serve(tmp_path: Path, toolbox_id: str) -> Iterator[Serve]:
    """Serves an app as a droplet does, on the contract's port of a loopback address, and returns that address."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(app: Flask) -> str:
        address = next(ADDRESSES)
        served = server_for(app, identity.ensure_certificate(tmp_path, toolbox_id), (address, routes.PORT))
        served.prepare()
        thread = threading.Thread(target=served.serve)
        thread.start()
        running.append((served, thread))
        return address

    yield start
    for served, thread in running:
        served.stop()
        thread.join()


@pytest.fixture
def client_of(tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey) -> Callable[..., ShimClient]:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    clients = ShimClients(pem)

    def make(address: str, fingerprint: str = "") -> ShimClient:
        pinned = fingerprint or identity.fingerprint(identity.ensure_certificate(tmp_path, toolbox_id))
        now = datetime.now(UTC)
        return clients.for_toolbox(
            Toolbox(
                id=toolbox_id,
                account="a",
                name="box",
                status=ToolboxStatus.ACTIVE,
                region="r",
                size="s",
                image="i",
                created_at=now,
                updated_at=now,
                address=address,
                fingerprint=pinned,
            )
        )

    return make


@pytest.fixture
def real_app(tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey) -> Callable[[str], Flask]:
    def make(engine: str) -> Flask:
        public = key.public_key()
        pem = identity.ensure_certificate(tmp_path, toolbox_id)
        return assemble(Configuration(toolbox_id, {tokens.kid(public): public}), pem, engine).app

    return make


@pytest.fixture
def client(
    serve: Serve, real_app: Callable[[str], Flask], fake_engine: FakeEngine, client_of: Callable[..., ShimClient]
) -> ShimClient:
    """The functions' client, connected to the real shim, whose engine gives the answers that the test sets."""
    return client_of(serve(real_app(fake_engine.url)))
