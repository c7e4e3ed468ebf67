"""A local DigitalOcean in the test process, beside the worlds of this machine, on the project's Docker Engine."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.serving import make_server

from infra.local import droplet
from infra.local.digitalocean import service
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.steps import wait_until
from infra.local.world import NETWORK, World


class Cloud:
    """The service, which a test can stop and start, and a client of it."""

    def __init__(self) -> None:
        self.world = World("cloud", 28080, NETWORK[230], 600_000_000)
        shutil.rmtree(self.world.directory, ignore_errors=True)
        self.account = Account(self.world)
        self.start()

    def start(self) -> None:
        app, self.droplets = service.build(self.world, self.account.token)
        self._server = make_server("127.0.0.1", self.world.digitalocean_port, app, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def create(self, name: str, **fields: Any) -> dict[str, Any]:
        body = {"name": name, "region": "fra1", "size": "s-2vcpu-4gb", "image": "debian-12-x64", **fields}
        created: dict[str, Any] = self.account("POST", "/v2/droplets", json=body).json()["droplet"]
        return created

    def get(self, key: int) -> dict[str, Any]:
        found: dict[str, Any] = self.account("GET", f"/v2/droplets/{key}").json()["droplet"]
        return found

    def wait_for(self, key: int, status: str) -> dict[str, Any]:
        """The droplet once it has the status."""
        return wait_until(lambda: found if (found := self.get(key))["status"] == status else None, 60, status)

    def machine(self, key: int) -> Droplet:
        """The container behind a droplet."""
        return next(machine for machine in droplet.droplets_of(self.world) if machine.id == key)


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    yield cloud
    cloud.stop()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Droplet.destroy, droplet.droplets_of(cloud.world)))
    shutil.rmtree(cloud.world.directory)
