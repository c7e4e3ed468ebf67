"""The tests' own world, seen as the frontend sees it: URLs and tokens, and its machinery only to break it."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from infra.local import images, world
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.toolbox import ACCOUNT, droplet_of
from infra.local.world import World


@pytest.fixture(scope="session")
def local_world() -> World:
    assert os.environ.get("TOOLBOXES_WORLD") == "tests", "these tests run in a world of their own: tests/run starts it"
    return world.current()


@pytest.fixture(scope="session")
def image() -> str:
    """A server that nobody here wrote, in the local registry."""
    return images.MCP.reference


class Api:
    """One account's calls, by HTTP alone."""

    def __init__(self, gateway: str, token: str | None) -> None:
        self.gateway = gateway
        self._session = requests.Session()
        self._session.trust_env = False
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, self.gateway + path, timeout=90, **options)


def oldest_toolbox(api: Api) -> dict[str, Any]:
    """The oldest of the account's: what a test makes beside it comes later."""
    record: dict[str, Any] = api("GET", "/toolboxes-user").json()[-1]
    return record


class Tools:
    """The instances of one toolbox."""

    def __init__(self, api: Api, toolbox_id: str) -> None:
        self.api, self.path = api, f"/toolbox-tools/{toolbox_id}/tools"

    def deploy(self, image: str, name: str, **body: Any) -> requests.Response:
        return self.api("POST", self.path, json={"instanceNameOnToolbox": name, "dockerImage": image, **body})

    def __call__(self, method: str, name: str, verb: str = "", **options: Any) -> requests.Response:
        return self.api(method, f"{self.path}/{quote(name)}{verb}", **options)

    def wait_for(self, name: str, *statuses: str, seconds: float = 90) -> dict[str, Any]:
        """The record once it has one of the statuses."""
        record: dict[str, Any] = {}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            record = self("GET", name).json()
            if record.get("status_on_toolbox") in statuses and record["generation"] == record["observed_generation"]:
                return record
            time.sleep(0.3)
        raise AssertionError(f"{name} is not {statuses} after {seconds} s: {record}")


@pytest.fixture(scope="session")
def api(local_world: World) -> Api:
    return Api(local_world.gateway, Issuer(local_world).token(ACCOUNT))


@pytest.fixture(scope="session")
def toolbox(api: Api) -> dict[str, Any]:
    """The record of the one that infra/local/up made."""
    return oldest_toolbox(api)


@pytest.fixture(scope="session")
def tools(api: Api, toolbox: dict[str, Any]) -> Tools:
    return Tools(api, toolbox["id"])


@pytest.fixture(scope="session")
def droplet(local_world: World, toolbox: dict[str, Any]) -> Droplet:
    return droplet_of(local_world, toolbox)


@pytest.fixture(scope="session")
def cloud(local_world: World) -> Account:
    """Where droplets are rebooted, and where one is lost."""
    return Account(local_world)


@pytest.fixture
def name(tools: Tools) -> Iterator[str]:
    """A name with everything that a path makes hard; its instance is deleted afterwards."""
    made = f"Überprüfung & Co #{uuid.uuid4().hex[:8]}-1750278276605"
    yield made
    tools("DELETE", made)
