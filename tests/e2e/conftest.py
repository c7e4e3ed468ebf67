"""The tests' own local world, used by URLs and tokens like the frontend; its parts are touched only to break them."""

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
    assert os.environ.get("TOOLBOXES_WORLD") == "tests", (
        "TOOLBOXES_WORLD is not 'tests'. Run these tests with tests/run, which starts their world."
    )
    return world.current()


@pytest.fixture(scope="session")
def image() -> str:
    """The reference of a third party's MCP server in the local registry."""
    return images.MCP.reference


class Api:
    """The HTTP calls of one account."""

    def __init__(self, gateway: str, token: str | None) -> None:
        self.gateway = gateway
        self._session = requests.Session()
        self._session.trust_env = False
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, self.gateway + path, timeout=90, **options)


def oldest_toolbox(api: Api) -> dict[str, Any]:
    """The record of the toolbox that infra/local/up provisioned; those that tests provision are newer."""
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
        """The record, once the instance has one of the statuses and no reconcile is outstanding."""
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
    """The record of the toolbox that infra/local/up provisioned."""
    return oldest_toolbox(api)


@pytest.fixture(scope="session")
def tools(api: Api, toolbox: dict[str, Any]) -> Tools:
    return Tools(api, toolbox["id"])


@pytest.fixture(scope="session")
def droplet(local_world: World, toolbox: dict[str, Any]) -> Droplet:
    return droplet_of(local_world, toolbox)


@pytest.fixture(scope="session")
def cloud(local_world: World) -> Account:
    """The local DigitalOcean account, to reboot and destroy droplets."""
    return Account(local_world)


@pytest.fixture
def name(tools: Tools) -> Iterator[str]:
    """An instance name that needs percent-encoding in a path; the instance is deleted afterwards."""
    name = f"Überprüfung & Co #{uuid.uuid4().hex[:8]}-1750278276605"
    yield name
    tools("DELETE", name)
