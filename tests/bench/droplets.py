"""A toolbox from its request to `active`, beside the same droplet with nothing to do; a death from then to its event.

The two take turns, so that both meet the same machine. The bare droplet is one whose cloud-init has no user-data; it
is timed from the API's answer to the end of cloud-init.
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
ASKED = {"regionSlug": "fra1", "sizeSlug": "s-2vcpu-4gb"}


def main() -> None:
    of = world.current()
    cloud, api = Account(of), Api(of.gateway, Issuer(of).token(ACCOUNT))
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(_bare(of, cloud))
        ours.append(_provisioned(api))
    told, beside = statistics.median(ours), statistics.median(bare)
    print(f"POST to active     ours {told:5.1f} s   bare cloud-init {beside:5.1f} s   ratio {told / beside:.2f}")
    toolbox = oldest_toolbox(api)
    tools, droplet = Tools(api, toolbox["id"]), droplet_of(of, toolbox)
    _calls(of, cloud)
    _deaths(of, tools, droplet)


def _bare(of: World, cloud: Account) -> float:
    asked = {"name": "bare", "region": "fra1", "size": ASKED["sizeSlug"], "image": "debian-12-x64"}
    began = time.monotonic()
    key = cloud("POST", "/v2/droplets", json=asked).json()["droplet"]["id"]
    record = Records(of, "droplets").get(key)
    assert record
    machine = Droplet(of, key, record["address"])

    def done() -> bool:
        try:
            return "done" in machine.run("cloud-init", "status")
        except command.Failed:
            return False

    wait_until(done, LONGEST, "cloud-init")
    taken = time.monotonic() - began
    cloud("DELETE", f"/v2/droplets/{key}")
    wait_until(lambda: not machine.exists(), LONGEST, "its end")
    return taken


def _provisioned(api: Api) -> float:
    began = time.monotonic()
    path = f"/toolboxes-user/{api('POST', '/toolboxes-user', json={'name': 'bench', **ASKED}).json()['id']}"
    wait_until(lambda: api("GET", path).json()["status"] == "active", LONGEST, "the toolbox")
    taken = time.monotonic() - began
    api("DELETE", path)
    wait_until(lambda: api("GET", path).json()["status"] == "deprovisioned", LONGEST, "its end")
    return taken


def _calls(of: World, cloud: Account) -> None:
    platform, before = Api(of.gateway, Issuer(of).service_token()), sum(cloud.calls().values())
    for _ in range(SWEEPS):
        platform("POST", "/sweep")
        time.sleep(2)
    print(f"calls to the cloud's API in {SWEEPS} sweeps of a toolbox at rest: {sum(cloud.calls().values()) - before}")


def _deaths(of: World, tools: Tools, droplet: Droplet) -> None:
    processes, name = services.of_world(of), f"bench-{uuid.uuid4().hex[:12]}"
    tools.deploy(images.MCP.reference, name)
    container = tools.wait_for(name, "running")["container_name"]
    _told("death to its event, with hints", DEATHS, lambda: _death(tools, droplet, name, container))
    processes.halt("notify")
    _told("death to its event, by sweeps alone", 2, lambda: _death(tools, droplet, name, container))
    processes.start("notify")
    tools("DELETE", name)


def _told(what: str, rounds: int, measure: Callable[[], tuple[float, float]]) -> None:
    taken = [measure() for _ in range(rounds)]
    seen, repaired = (statistics.median(column) for column in zip(*taken, strict=True))
    print(f"{what:38} {seen:5.1f} s, running again after {repaired:5.1f} s")


def _death(tools: Tools, droplet: Droplet, name: str, container: str) -> tuple[float, float]:
    """Seconds from the kill to its event's own time, and to a record that says `running` of another start."""
    before = tools.wait_for(name, "running")["started_at"]
    droplet.run("docker", "kill", container)
    killed = time.time()

    def crashed() -> float | None:
        for event in tools("GET", name, "/events").json():
            if event["type"] == "crashed" and datetime.fromisoformat(event["time"]).timestamp() > killed - 1:
                return datetime.fromisoformat(event["time"]).timestamp() - killed
        return None

    seen = wait_until(crashed, LONGEST, "the event")
    wait_until(lambda: tools.wait_for(name, "running")["started_at"] != before, LONGEST, "the repair")
    return seen, time.time() - killed
