"""The demo account: its toolbox, provisioned as any account's is, and the MCP server that `up` deploys on it."""

from __future__ import annotations

import json
import ssl
from contextlib import closing
from functools import partial
from http import HTTPStatus
from http.client import HTTPException, HTTPSConnection
from ipaddress import IPv4Address
from typing import Any
from urllib.parse import quote

import anyio
import requests
from mcp import Client

from infra.local import command, images
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.steps import listens, wait_until
from infra.local.world import World
from shim.contract import routes

ACCOUNT = "demo"
TOOLBOX = {"name": "local", "regionSlug": "fra1", "sizeSlug": "s-2vcpu-4gb"}
LEAVING = ("pending_deprovision", "deprovisioning", "error_deprovisioning")
INSTANCE = "Context7 MCP Server-1750278276605"
"""A name as the existing frontend makes them, with spaces."""
MCP_PORT = 3001
MCP_PATH = "/mcp"
CALL_SECONDS = 60
ACTIVE_SECONDS = 240
RUNNING_SECONDS = 180
LISTENING_SECONDS = 60

Record = dict[str, Any]


class NotActive(Exception):
    """The toolbox did not become active. The message is its record."""


class NotRunning(Exception):
    """The instance did not start. The message is its record."""


class Caller:
    """One account's HTTP calls through the gateway of a world, as a frontend makes them."""

    def __init__(self, world: World, account: str) -> None:
        self._gateway, self._session = world.gateway, requests.Session()
        self._session.headers["Authorization"] = f"Bearer {Issuer(world).token(account)}"

    def __call__(self, method: str, path: str, **options: Any) -> Any:
        """The parsed answer; None for a 404. Raises requests.HTTPError, with the answer, for any other error status."""
        answer = self._session.request(method, self._gateway + path, timeout=CALL_SECONDS, **options)
        if answer.status_code == requests.codes.not_found:
            return None
        if not answer.ok:
            raise requests.HTTPError(f"{method} {answer.url}: {answer.status_code} {answer.text}")
        return answer.json()


class Toolbox:
    """The demo account's oldest toolbox. Methods raise requests.HTTPError."""

    def __init__(self, world: World, caller: Caller) -> None:
        self._world, self._caller = world, caller

    def request(self) -> None:
        """Provision the toolbox, rebuild it if its droplet was lost, or upgrade its shim to this checkout's."""
        record = self._find()
        if record is None:
            self._caller("POST", "/toolboxes-user", json=TOOLBOX)
        elif record["status"] == "error_provisioning" or (record["do_droplet_id"] and self._is_lost(record)):
            self._caller("POST", f"/toolboxes-user/{record['id']}/rebuild")
        elif record["status"] in ("active", "unresponsive"):
            record = self.wait_until_active()
            if not self._has_current_shim(record):
                self._caller("POST", f"/toolboxes-user/{record['id']}/upgrade-shim")

    def wait_until_active(self) -> Record:
        """The record once the toolbox is active in its latest generation. Raises NotActive, TimeoutError."""

        def active() -> Record | None:
            record = self._find()
            assert record, "request() was called before"
            if record["status"] == "error_provisioning":
                raise NotActive(json.dumps(record, indent=2))
            current = record["status"] == "active" and record["generation"] == record["observed_generation"]
            return record if current else None

        return wait_until(active, ACTIVE_SECONDS, "the toolbox to become active")

    def _find(self) -> Record | None:
        records = [record for record in self._caller("GET", "/toolboxes-user") if record["status"] not in LEAVING]
        return records[-1] if records else None

    def _is_lost(self, record: Record) -> bool:
        return record["do_droplet_id"] not in [str(droplet["id"]) for droplet in Account(self._world).droplets()]

    def _has_current_shim(self, record: Record) -> bool:
        try:
            return shim_image(droplet_of(self._world, record)) == images.SHIM.by_digest()
        except command.Failed:
            return False


class Demo:
    """The demo account's one instance. Methods raise requests.HTTPError."""

    def __init__(self, caller: Caller, toolbox_id: str) -> None:
        self._caller = caller
        self._tools = f"/toolbox-tools/{toolbox_id}/tools"
        self._instance = f"{self._tools}/{quote(INSTANCE)}"

    def deploy(self) -> None:
        """Deploy the instance if there is none, or start it if it was stopped."""
        record = self._caller("GET", self._instance)
        if record is None:
            body = {
                "instanceNameOnToolbox": INSTANCE,
                "dockerImage": images.MCP.reference,
                "portMappings": [{"containerPort": MCP_PORT}],
                "mcp": {"port": MCP_PORT, "path": MCP_PATH},
            }
            self._caller("POST", self._tools, json=body)
        elif record["status_on_toolbox"] != "running":
            self._caller("POST", f"{self._instance}/start")

    def wait_until_running(self) -> Record:
        """The record once the instance runs. Raises NotRunning, TimeoutError."""

        def settled() -> Record | None:
            record: Record = self._caller("GET", self._instance)
            return record if record["status_on_toolbox"] in ("running", "error_install", "error_runtime") else None

        record = wait_until(settled, RUNNING_SECONDS, f"{INSTANCE} to run")
        if record["status_on_toolbox"] != "running":
            raise NotRunning(json.dumps(record, indent=2))
        return record


def speak(host: str, port: int) -> tuple[str, list[str]]:
    """Call an MCP server: its name and version from `initialize`, and its tools' names from `tools/list`."""
    # A container runs before the server in it listens.
    wait_until(partial(listens, host, port), LISTENING_SECONDS, f"a server at {host}:{port}")

    async def call() -> tuple[str, list[str]]:
        async with Client(f"http://{host}:{port}{MCP_PATH}", mode="legacy", read_timeout_seconds=30) as client:
            server = client.server_info
            assert server, "initialize returns the server's name"
            tools = (await client.list_tools()).tools
            return f"{server.name} {server.version}", [tool.name for tool in tools]

    return anyio.run(call)


def droplet_of(world: World, record: Record) -> Droplet:
    """The droplet of a toolbox's record."""
    return Droplet(world, int(record["do_droplet_id"]), IPv4Address(record["public_ip_address"]))


def shim_image(droplet: Droplet) -> str:
    """The image of the shim that runs on a droplet. Raises command.Failed."""
    return droplet.run("docker", "container", "inspect", "--format", "{{.Config.Image}}", "toolboxes-shim")


def shim_answers(droplet: Droplet) -> bool:
    """Whether the droplet's port of the shim answers GET /health. The certificate is not verified."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = HTTPSConnection(str(droplet.address), routes.PORT, timeout=2, context=context)
    with closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
