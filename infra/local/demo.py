"""What the account `demo` does, through the gateway alone: deploys an MCP server and speaks to it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from urllib.parse import quote

import anyio
import requests
from mcp import Client

from infra.local import images, toolbox
from infra.local.issuer import Issuer
from infra.local.steps import listens, wait_until
from infra.local.world import World

INSTANCE = "Context7 MCP Server-1750278276605"
MCP_PORT = 3001
MCP_PATH = "/mcp"
RUNNING_SECONDS = 180
LISTENING_SECONDS = 60

Record = dict[str, Any]


class NotRunning(Exception):
    """The instance did not come to run; says what its record says."""


class Demo:
    """The account's calls about its one instance on one toolbox. Raises requests.HTTPError where one is refused."""

    def __init__(self, of: World, toolbox_id: str) -> None:
        self._tools = f"{of.gateway}/toolbox-tools/{toolbox_id}/tools"
        self._instance = f"{self._tools}/{quote(INSTANCE)}"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {Issuer(of).token(toolbox.ACCOUNT)}"

    def deploy(self) -> None:
        """Asks for the instance to run: deploys it where there is none, starts it where it was stopped."""
        found = self._session.get(self._instance, timeout=30)
        if found.status_code == requests.codes.not_found:
            wanted = {
                "instanceNameOnToolbox": INSTANCE,
                "dockerImage": images.MCP.reference,
                "portMappings": [{"containerPort": MCP_PORT}],
                "mcp": {"port": MCP_PORT, "path": MCP_PATH},
            }
            _checked(self._session.post(self._tools, json=wanted, timeout=60))
        elif _checked(found)["status_on_toolbox"] != "running":
            _checked(self._session.post(f"{self._instance}/start", timeout=60))

    def running(self) -> Record:
        """The instance's record once it says that it runs. Raises NotRunning."""

        def settled() -> Record | None:
            record = _checked(self._session.get(self._instance, timeout=30))
            return record if record["status_on_toolbox"] in ("running", "error_install", "error_runtime") else None

        record = wait_until(settled, RUNNING_SECONDS, f"{INSTANCE} to run")
        if record["status_on_toolbox"] != "running":
            raise NotRunning(json.dumps(record, indent=2))
        return record


def speak(host: str, port: int) -> tuple[str, list[str]]:
    """The MCP server's name and version from `initialize`, and its tools' names from `tools/list`."""
    # A container runs before what is in it listens.
    wait_until(partial(listens, host, port), LISTENING_SECONDS, f"something to listen at {host}:{port}")

    async def ask() -> tuple[str, list[str]]:
        async with Client(f"http://{host}:{port}{MCP_PATH}", mode="legacy", read_timeout_seconds=30) as client:
            server = client.server_info
            assert server, "initialize names the server"
            listed = await client.list_tools()
            return f"{server.name} {server.version}", [tool.name for tool in listed.tools]

    return anyio.run(ask)


def _checked(answer: requests.Response) -> Any:
    if not answer.ok:
        raise requests.HTTPError(f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}")
    return answer.json()
