"""The time from a toolbox's request to `active`, beside a bare droplet; the time from a container's death to its event.

The two take turns, so that both are measured under the same load. The bare droplet has no user-data; it is timed from
the API's answer to the end of cloud-init.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from datetime import datetime

from infra.local import command, images, services, world
from infra.local.digitalocean.account import Account
from infra.local.digitalocean.records import Records
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.steps import wait_until
from infra.local.toolbox import ACCOUNT, droplet_of
from infra.local.world import World
from tests.e2e.conftest import Api, Tools, oldest_toolbox

ROUNDS = 3
DEATHS = 5
SWEEPS = 5
LONGEST = 300
REQUEST = {"regionSlug": "fra1", "sizeSlug": "s-2vcpu-4gb"}


def main() -> None:
    local_world = world.current()
    cloud, api = Account(local_world), Api(local_world.gateway, Issuer(local_world).token(ACCOUNT))
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(_bare(local_world, cloud))
        ours.append(_provisioned(api))
    own, peer = statistics.median(ours), statistics.median(bare)
    print(f"POST to active     ours {own:5.1f} s   bare cloud-init {peer:5.1f} s   ratio {own / peer:.2f}")
    toolbox = oldest_toolbox(api)
    tools, droplet = Tools(api, toolbox["id"]), droplet_of(local_world, toolbox)
    _calls(local_world, cloud)
    _deaths(local_world, tools, droplet)


def _bare(local_world: World, cloud: Account) -> float:
    body = {"name": "bare", "region": "fra1", "size": REQUEST["sizeSlug"], "image": "debian-12-x64"}
    began = time.monotonic()
    key = cloud("POST", "/v2/droplets", json=body).json()["droplet"]["id"]
    record = Records(local_world, "droplets").get(key)
    assert record
    machine = Droplet(local_world, key, record["address"])

    def done() -> bool:
        try:
            return "done" in machine.run("cloud-init", "status")
        except command.Failed:
            return False

    wait_until(done, LONGEST, "cloud-init")
    seconds = time.monotonic() - began
    cloud("DELETE", f"/v2/droplets/{key}")
    wait_until(lambda: not machine.exists(), LONGEST, "its end")
    return seconds


def _provisioned(api: Api) -> float:
    began = time.monotonic()
    path = f"/toolboxes-user/{api('POST', '/toolboxes-user', json={'name': 'bench', **REQUEST}).json()['id']}"
    wait_until(lambda: api("GET", path).json()["status"] == "active", LONGEST, "the toolbox")
    seconds = time.monotonic() - began
    api("DELETE", path)
    wait_until(lambda: api("GET", path).json()["status"] == "deprovisioned", LONGEST, "its end")
    return seconds


def _calls(local_world: World, cloud: Account) -> None:
    platform, before = Api(local_world.gateway, Issuer(local_world).service_token()), sum(cloud.calls().values())
    for _ in range(SWEEPS):
        platform("POST", "/sweep")
        time.sleep(2)
    print(f"calls to the cloud's API in {SWEEPS} sweeps of a toolbox at rest: {sum(cloud.calls().values()) - before}")


def _deaths(local_world: World, tools: Tools, droplet: Droplet) -> None:
    processes, name = services.of_world(local_world), f"bench-{uuid.uuid4().hex[:12]}"
    tools.deploy(images.MCP.reference, name)
    container = tools.wait_for(name, "running")["container_name"]
    _print_times("death to its event, with hints", DEATHS, lambda: _death(tools, droplet, name, container))
    processes.halt("notify")
    _print_times("death to its event, by sweeps alone", 2, lambda: _death(tools, droplet, name, container))
    processes.start("notify")
    tools("DELETE", name)


def _print_times(what: str, rounds: int, measure: Callable[[], tuple[float, float]]) -> None:
    seconds = [measure() for _ in range(rounds)]
    detected, repaired = (statistics.median(column) for column in zip(*seconds, strict=True))
    print(f"{what:38} {detected:5.1f} s, running again after {repaired:5.1f} s")


def _death(tools: Tools, droplet: Droplet, name: str, container: str) -> tuple[float, float]:
    """Return the seconds from the kill to the time of its event, and to a `running` record with a new start time."""
    before = tools.wait_for(name, "running")["started_at"]
    droplet.run("docker", "kill", container)
    killed = time.time()

    def crashed() -> float | None:
        for event in tools("GET", name, "/events").json():
            if event["type"] == "crashed" and datetime.fromisoformat(event["time"]).timestamp() > killed - 1:
                return datetime.fromisoformat(event["time"]).timestamp() - killed
        return None

    detected = wait_until(crashed, LONGEST, "the event")
    wait_until(lambda: tools.wait_for(name, "running")["started_at"] != before, LONGEST, "the repair")
    return detected, time.time() - killed
