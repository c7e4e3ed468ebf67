"""A local DigitalOcean of the tests' own, beside the worlds that stand here, on the project's engine."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.serving import make_server

from infra.local import droplet, world
from infra.local.digitalocean import service
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.steps import wait_until
from infra.local.world import World


class Cloud:
    """The service, which can be ended and begun again, and its account."""

    def __init__(self) -> None:
        self.of = World("cloud", 28080, world.NETWORK[230], 600_000_000)
        shutil.rmtree(self.of.directory, ignore_errors=True)
        self.account = Account(self.of)
        self.begin()

    def begin(self) -> None:
        app = service.build(self.of, self.account.token)
        self._server = make_server("127.0.0.1", self.of.digitalocean_port, app, threaded=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def create(self, name: str, **more: Any) -> dict[str, Any]:
        asked = {"name": name, "region": "fra1", "size": "s-2vcpu-4gb", "image": "debian-12-x64", **more}
        made: dict[str, Any] = self.account("POST", "/v2/droplets", json=asked).json()["droplet"]
        return made

    def get(self, key: int) -> dict[str, Any]:
        found: dict[str, Any] = self.account("GET", f"/v2/droplets/{key}").json()["droplet"]
        return found

    def until(self, key: int, status: str) -> dict[str, Any]:
        return wait_until(lambda: found if (found := self.get(key))["status"] == status else None, 60, status)

    def machine(self, key: int) -> Droplet:
        return next(one for one in droplet.of(self.of) if one.id == key)


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    made = Cloud()
    yield made
    made.end()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Droplet.destroy, droplet.of(made.of)))
    shutil.rmtree(made.of.directory)
