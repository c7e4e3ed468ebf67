"""Private images: pulled from a registry with a password, with the credentials that the account stored."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import authority, images, registry, world
from infra.local.droplet import Droplet
from infra.local.steps import listens, wait_until
from tests.e2e.conftest import Api, Tools
from tests.shim.droplet import free_port

pytestmark = pytest.mark.world

PASSWORD = "s3cret"
HASHED = "$2b$05$oSMMpOQDDmLAByA2YYTBGusjMCyHI60mTnzt0mTtH7Nej3L.cOw9a"


@pytest.fixture
def private_registry(tmp_path: Path) -> Iterator[str]:
    """The address of a TLS registry with the local registry's images, whose only user is `u`."""
    port = free_port()
    certificate, key = authority.server(world.NETWORK_GATEWAY)
    (tmp_path / "htpasswd").write_text(f"u:{HASHED}\n")
    settings = {
        "HTTP_ADDR": f"{world.NETWORK_GATEWAY}:{port}",
        "HTTP_TLS_CERTIFICATE": str(certificate),
        "HTTP_TLS_KEY": str(key),
        "AUTH_HTPASSWD_REALM": "private",
        "AUTH_HTPASSWD_PATH": str(tmp_path / "htpasswd"),
    }
    program = registry.program(registry.CONFIG)
    environment = (
        os.environ | dict(program.environment) | {f"REGISTRY_{name}": value for name, value in settings.items()}
    )
    process = subprocess.Popen(program.command, env=environment)
    try:
        wait_until(lambda: listens(str(world.NETWORK_GATEWAY), port), 20, "the private registry to listen")
        yield f"{world.NETWORK_GATEWAY}:{port}"
    finally:
        process.kill()
        process.wait()


def test_stored_credentials_pull_private_images_and_stay_off_the_droplet(
    api: Api, tools: Tools, name: str, droplet: Droplet, private_registry: str
) -> None:
    image = images.MCP.reference.replace(registry.ADDRESS, private_registry)
    path = f"/toolboxes-user/registries/{private_registry}"
    try:
        for password in (None, "wrong"):
            if password:
                assert api("PUT", path, json={"username": "u", "password": password}).ok
            tools.deploy(image, name)
            assert tools.wait_for(name, "error_install")["status_reason"]["code"] == "image-denied"
            tools("DELETE", name)
        assert api("PUT", path, json={"username": "u", "password": PASSWORD}).ok
        tools.deploy(image, name)
        record = tools.wait_for(name, "running")
        assert record["image"] == image
        assert PASSWORD not in api("GET", path).text
        found = droplet.run("sh", "-c", f"grep -rls {PASSWORD} /etc /root /run /home /var/log || true")
        assert found == ""
        assert PASSWORD not in droplet.run("docker", "logs", "toolboxes-shim")
    finally:
        api("DELETE", path)
