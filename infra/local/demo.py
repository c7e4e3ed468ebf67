"""What the account `demo` does on its toolbox: deploys an MCP server and speaks to it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any
from urllib.parse import quote

import anyio
from mcp import Client

from infra.local import images
from infra.local.caller import Caller
from infra.local.steps import listens, wait_until

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

    def __init__(self, caller: Caller, toolbox_id: str) -> None:
        self._caller = caller
        self._tools = f"/toolbox-tools/{toolbox_id}/tools"
        self._instance = f"{self._tools}/{quote(INSTANCE)}"

    def deploy(self) -> None:
        """Asks for the instance to run: deploys it where there is none, starts it where it was stopped."""
        found = self._caller("GET", self._instance)
        if found is None:
            wanted = {
                "instanceNameOnToolbox": INSTANCE,
                "dockerImage": images.MCP.reference,
                "portMappings": [{"containerPort": MCP_PORT}],
                "mcp": {"port": MCP_PORT, "path": MCP_PATH},
            }
            self._caller("POST", self._tools, json=wanted)
        elif found["status_on_toolbox"] != "running":
            self._caller("POST", f"{self._instance}/start")

    def running(self) -> Record:
        """The instance's record once it says that it runs. Raises NotRunning."""

        def settled() -> Record | None:
            record: Record = self._caller("GET", self._instance)
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
