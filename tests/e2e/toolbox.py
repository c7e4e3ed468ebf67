"""A client of one toolbox that a test provisioned: its record, its droplet, and the MCP server on it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.toolbox import MCP_PATH, MCP_PORT, droplet_of, shim_answers, speak
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

DROPLET = {"regionSlug": "fra1", "sizeSlug": "s-2vcpu-4gb"}
MCP_SERVER = {"portMappings": [{"containerPort": MCP_PORT}], "mcp": {"port": MCP_PORT, "path": MCP_PATH}}
SMALL_MEMORY = {"resourceLimits": {"memory": "128m"}}
SERVER = "everything"
FORBIDDEN_URLS = [
    "http://169.254.169.254/metadata/v1/user-data",
    "https://172.17.0.1:30000/health",
    "https://{own}:30000/health",
]


class ToolboxClient:
    """One toolbox and the MCP server that the tests deploy on it."""

    def __init__(self, local_world: World, api: Api, toolbox_id: str) -> None:
        self.id, self._world, self._api = toolbox_id, local_world, api
        self.path, self.tools = f"/toolboxes-user/{toolbox_id}", Tools(api, toolbox_id)

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api("GET", self.path).json()
        return found

    @property
    def droplet(self) -> Droplet:
        return droplet_of(self._world, self.record())

    def wait_for(self, *statuses: str, seconds: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            record = self.record()
            assert record["status"] != "error_provisioning", record
            if record["status"] in statuses and record["generation"] == record["observed_generation"]:
                return record
            time.sleep(0.3)
        raise AssertionError(f"not {statuses} after {seconds} s: {record}")

    def serves(self) -> bool:
        record = self.tools.wait_for(SERVER, "running", seconds=150)
        _, tools = speak(self.record()["public_ip_address"], record["ports"][0]["host_port"])
        return "echo" in tools


def droplets_of(cloud: Account, toolbox: ToolboxClient) -> list[str]:
    return [str(droplet["id"]) for droplet in cloud.droplets() if f"toolbox-{toolbox.id}" in droplet["tags"]]


def wait_until_reachable(toolbox: ToolboxClient, sweep: Callable[[], None]) -> None:
    """Wait until the shim answers, then sweep once in case the shim's own hint was lost."""
    deadline = time.monotonic() + 120
    while not shim_answers(toolbox.droplet):
        assert time.monotonic() < deadline, "the toolbox's shim does not answer"
        time.sleep(0.2)
    sweep()
    toolbox.wait_for("active")


def fetch_from_container(toolbox: ToolboxClient, url: str) -> str:
    """How a request to `url` ends that is sent from the toolbox's container: `reached STATUS` or `refused ERROR`."""
    assert toolbox.serves()
    script = (
        "process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';"
        f"fetch({url.format(own=toolbox.record()['public_ip_address'])!r}, {{signal: AbortSignal.timeout(5000)}})"
        ".then(a => console.log('reached', a.status), e => console.log('refused', (e.cause || e).code || e.name))"
    )
    answer = toolbox.tools("POST", SERVER, "/exec", json={"command": ["node", "--experimental-fetch", "-e", script]})
    return str(answer.json()["stdout"]).strip()


def firewalls(cloud: Account) -> set[str]:
    return {firewall["name"] for firewall in cloud("GET", "/v2/firewalls?per_page=200").json()["firewalls"]}


def state_of(droplet: Droplet, service: str) -> str:
    return droplet.run("sh", "-c", f"systemctl is-active {service} || true").strip()


def secrets(local_world: World) -> Iterator[tuple[str, str]]:
    """Name and value of each secret: every line of key and token files, and the secret settings of the functions."""
    for file in [
        *local_world.directory.glob("*.pem"),
        *local_world.directory.glob("*-token"),
        *local_world.directory.glob("*-key*"),
    ]:
        yield from ((file.name, line) for line in file.read_text().splitlines() if line)
    for file in local_world.directory.glob("functions/*.env"):
        for line in file.read_text().splitlines():
            name, _, value = line.partition("=")
            if name != "CONTROL_KEYS" and re.search("KEY|TOKEN|SECRET", name) and value:
                yield f"{file.name} {name}", value.strip("'")
