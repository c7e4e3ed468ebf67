"""The functions' own code runs each step of a plan twice, through the real shim on a real engine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from functions.adapters.shim import ShimClients
from functions.adapters.toolbox_shim import ToolboxShim, ToolboxShims
from functions.domain.instance.spec import Spec
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from shim import identity
from shim.__main__ import assemble, server_for
from shim.contract import names, routes, tokens
from shim.identity import Configuration
from tests.faults.step_cases import STEP_CASES, prepared
from tests.shim.droplet import Registry

pytestmark = pytest.mark.docker

ADDRESS = "127.0.8.1"


@pytest.fixture
def shim(tmp_path: Path, toolbox_id: str, key: Ed25519PrivateKey, engine_socket: str) -> Iterator[ToolboxShim]:
    pem, public = identity.ensure_certificate(tmp_path, toolbox_id), key.public_key()
    app = assemble(Configuration(toolbox_id, {tokens.kid(public): public}), pem, engine_socket).app
    served = server_for(app, pem, (ADDRESS, routes.PORT))
    served.prepare()
    thread = threading.Thread(target=served.serve)
    thread.start()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    now = datetime.now(UTC)
    toolbox = Toolbox(
        id=toolbox_id,
        account="a",
        name="box",
        status=ToolboxStatus.ACTIVE,
        region="r",
        size="s",
        image="i",
        created_at=now,
        updated_at=now,
        address=ADDRESS,
        fingerprint=identity.fingerprint(pem),
    )
    yield ToolboxShims(ShimClients(private)).for_toolbox(toolbox)
    served.stop()
    thread.join()


@pytest.fixture
def engine(engine_socket: str, toolbox_id: str) -> Iterator[docker.APIClient]:
    client = docker.APIClient(engine_socket, version="auto")
    yield client
    for found in containers(client, toolbox_id):
        client.remove_container(found, v=True, force=True)
    client.close()


def containers(engine: docker.APIClient, toolbox_id: str) -> dict[str, Any]:
    """The name, state and restart count of each container, as reported by the engine."""
    wanted = {"label": f"{names.LABEL_TOOLBOX}={toolbox_id}"}
    found = [engine.inspect_container(entry["Id"]) for entry in engine.containers(all=True, filters=wanted)]
    return {item["Id"]: (item["Name"], item["State"], item["RestartCount"]) for item in found}


@pytest.mark.parametrize("case", STEP_CASES)
def test_step_that_runs_twice_leaves_what_one_run_leaves(
    case: str, shim: ToolboxShim, engine: docker.APIClient, toolbox_id: str, busybox: str, registry: Registry
) -> None:
    image = registry.push(engine, busybox, "repeat") if case == "pull" else busybox
    ready = prepared(STEP_CASES[case], shim, Spec(image, command=["sleep", "600"]), datetime.now(UTC))
    try:
        first = ready.run()
        stands = containers(engine, toolbox_id)
        assert ready.run() == first
        assert containers(engine, toolbox_id) == stands
        assert first[0].observed.obstacle is None
    finally:
        if case == "pull":
            engine.remove_image(image, force=True)
