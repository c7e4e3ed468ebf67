"""Three toolboxes of one account, by HTTP alone: provisioned at once, walled in, broken one by one, and ended.

In the order of a droplet's life: what one test breaks the next has whole again.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests

from infra.local import services
from infra.local.demo import MCP_PATH, MCP_PORT, speak
from infra.local.digitalocean.account import Account
from infra.local.digitalocean.records import Records
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.toolbox import droplet_of, shim_answers
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = [pytest.mark.world, pytest.mark.timeout(400)]

ASKED = {"regionSlug": "fra1", "sizeSlug": "s-2vcpu-4gb"}
BODY = {"portMappings": [{"containerPort": MCP_PORT}], "mcp": {"port": MCP_PORT, "path": MCP_PATH}}
SMALL = {"resourceLimits": {"memory": "128m"}}
SERVER = "everything"


class Box:
    """One toolbox, with an MCP server on it."""

    def __init__(self, of: World, api: Api, toolbox_id: str) -> None:
        self.id, self._world, self._api = toolbox_id, of, api
        self.path, self.tools = f"/toolboxes-user/{toolbox_id}", Tools(api, toolbox_id)

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api("GET", self.path).json()
        return found

    @property
    def droplet(self) -> Droplet:
        return droplet_of(self._world, self.record())

    def until(self, *statuses: str, seconds: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            record = self.record()
            assert record["status"] != "error_provisioning", record
            if record["status"] in statuses and record["generation"] == record["observed_generation"]:
                return record
            time.sleep(0.3)
        raise AssertionError(f"not {statuses} after {seconds} s: {record}")

    def serves(self) -> bool:
        record = self.tools.until(SERVER, "running", seconds=150)
        _, tools = speak(self.record()["public_ip_address"], record["ports"][0]["host_port"])
        return "echo" in tools


@pytest.fixture(scope="module")
def api(of: World) -> Api:
    return Api(of.gateway, Issuer(of).token(f"fleet-{uuid.uuid4().hex[:8]}"))


@pytest.fixture(scope="module")
def sweep(of: World) -> Callable[[], None]:
    platform = Api(of.gateway, Issuer(of).service_token())

    def now() -> None:
        with suppress(requests.RequestException):
            platform("POST", "/sweep")

    return now


@pytest.fixture(scope="module")
def boxes(of: World, api: Api, cloud: Account, image: str) -> Iterator[list[Box]]:
    """Asked for at once, from an API that refuses, fails, loses an answer and tags late."""
    creates = {"method": "POST", "path": "/v2/droplets"}
    cloud.weather(
        {"kind": "limited", **creates, "seconds": 1}, {"kind": "failing", **creates}, {"kind": "lost", **creates},
        tags_late_seconds=5,
    )  # fmt: skip

    def made(number: int) -> Box:
        answer = api("POST", "/toolboxes-user", json={"name": f"fleet {number}", **ASKED})
        assert answer.status_code == 201, answer.text
        box = Box(of, api, answer.json()["id"])
        box.until("active")
        deployed = box.tools.deploy(image, SERVER, **BODY, **SMALL)
        assert deployed.status_code in (201, 202), deployed.text
        return box

    with ThreadPoolExecutor(3) as pool:
        made_at_once = list(pool.map(made, range(3)))
    cloud.weather()
    yield made_at_once
    for box in made_at_once:
        api("DELETE", box.path)


def droplets_of(cloud: Account, box: Box) -> list[str]:
    return [str(one["id"]) for one in cloud.droplets() if f"toolbox-{box.id}" in one["tags"]]


def test_three_at_once_serve_each_on_one_droplet_of_its_own(boxes: list[Box], cloud: Account) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(Box.serves, boxes)) == [True] * 3
    assert [droplets_of(cloud, box) for box in boxes] == [[box.record()["do_droplet_id"]] for box in boxes]


def test_user_data_holds_no_secret_of_the_control_plane(of: World, boxes: list[Box]) -> None:
    record = Records(of, "droplets").get(boxes[0].droplet.id)
    assert record
    held = list(secrets(of))
    assert len(held) > 10
    assert not [name for name, secret in held if secret in record["user_data"]]


def secrets(of: World) -> Iterator[tuple[str, str]]:
    """Every line of every key and token that this world keeps, and whatever a function's environment calls one."""
    for file in [*of.directory.glob("*.pem"), *of.directory.glob("*-token"), *of.directory.glob("*-key*")]:
        yield from ((file.name, line) for line in file.read_text().splitlines() if line)
    for file in of.directory.glob("functions/*.env"):
        for line in file.read_text().splitlines():
            name, _, value = line.partition("=")
            if name != "CONTROL_KEYS" and re.search("KEY|TOKEN|SECRET", name) and value:
                yield f"{file.name} {name}", value.strip("'")


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/metadata/v1/user-data", "https://172.17.0.1:30000/health", "https://{own}:30000/health"],
)
@pytest.mark.parametrize("rebooted", [False, True], ids=["at first", "after a reboot"])
def test_a_container_reaches_neither_user_data_nor_the_shim(
    boxes: list[Box], cloud: Account, sweep: Callable[[], None], rebooted: bool, url: str
) -> None:
    box = boxes[0]
    if rebooted and url.startswith("http:"):
        cloud.act(box.droplet.id, "reboot")
        until_reached(box, sweep)
    assert box.serves()
    url = url.format(own=box.record()["public_ip_address"])
    script = (
        "process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';"
        f"fetch({url!r}, {{signal: AbortSignal.timeout(5000)}}).then(a => console.log('reached', a.status),"
        " e => console.log('refused', (e.cause || e).code || e.name))"
    )
    answer = box.tools("POST", SERVER, "/exec", json={"command": ["node", "--experimental-fetch", "-e", script]})
    assert answer.json()["stdout"].strip() in ("refused ECONNREFUSED", "refused TimeoutError"), answer.text


def until_reached(box: Box, sweep: Callable[[], None]) -> None:
    """Its shim says by itself that it is there; a sweep says it, too, should that be lost."""
    deadline = time.monotonic() + 120
    while not shim_answers(box.droplet):
        assert time.monotonic() < deadline, "its shim does not answer"
        time.sleep(0.2)
    sweep()
    box.until("active")


def test_the_wall_is_what_holds_a_container_back(boxes: list[Box]) -> None:
    """The droplet itself reaches both."""
    asks = "import urllib.request as r, ssl; c = ssl._create_unverified_context(); print(r.urlopen({!r}, **{}).status)"
    droplet = boxes[0].droplet
    assert droplet.run("python3", "-c", asks.format("http://169.254.169.254/metadata/v1/user-data", "{}")) == "200"
    assert droplet.run("python3", "-c", asks.format("https://172.17.0.1:30000/health", "{'context': c}")) == "200"


def test_a_containers_death_is_seen_and_repaired_without_a_sweep(of: World, boxes: list[Box]) -> None:
    box, processes = boxes[1], services.of_world(of)
    assert box.serves()
    container = box.tools("GET", SERVER).json()["container_name"]
    processes.halt("scheduler")
    try:
        box.droplet.run("docker", "kill", container)
        deadline = time.monotonic() + 45
        while "crashed" not in (kinds := [event["type"] for event in box.tools("GET", SERVER, "/events").json()]):
            assert time.monotonic() < deadline, kinds
            time.sleep(0.5)
        assert box.serves()
    finally:
        processes.start("scheduler")


def test_a_droplet_whose_engine_is_broken_is_no_concern_of_the_others(
    boxes: list[Box], image: str, sweep: Callable[[], None]
) -> None:
    broken, *others = boxes
    broken.droplet.run("systemctl", "stop", "docker.service", "docker.socket")
    try:
        sweep()

        def works(box: Box) -> bool:
            box.tools.deploy(image, "beside", **SMALL)
            box.tools.until("beside", "running")
            return box.tools("POST", "beside", "/stop").json()["status_on_toolbox"] in ("stopping", "stopped")

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(works, others)) == [True, True]
        assert broken.tools("GET", SERVER).json()["reachable"] is False
    finally:
        broken.droplet.run("systemctl", "start", "docker.service")
    until_reached(broken, sweep)
    assert broken.serves()


@pytest.mark.parametrize("act", ["reboot", "power_cycle"])
def test_a_deploy_that_a_droplet_went_down_under_is_done_in_the_end(
    boxes: list[Box], cloud: Account, image: str, sweep: Callable[[], None], act: str
) -> None:
    box, name = boxes[2], f"during-{act}"
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(box.tools.deploy, image, name, **SMALL, **BODY)
        time.sleep(0.2)
        cloud.act(box.droplet.id, act)
        assert asked.result().status_code in (201, 202, 503, 504)
    until_reached(box, sweep)
    deadline = time.monotonic() + 170
    while (record := box.tools("GET", name).json())["status_on_toolbox"] != "running":
        assert time.monotonic() < deadline, record
        sweep()
        time.sleep(2)
    listed = box.droplet.run("docker", "ps", "--all", "--filter", f"name={record['id']}", "--format", "{{.State}}")
    assert listed == "running"


def test_a_droplet_that_was_deleted_behind_our_back_is_rebuilt_with_the_same_instances(
    boxes: list[Box], api: Api, cloud: Account, sweep: Callable[[], None]
) -> None:
    box = boxes[2]
    before, instances = box.record(), box.tools.api("GET", box.tools.path).json()
    cloud("DELETE", f"/v2/droplets/{before['do_droplet_id']}")
    deadline = time.monotonic() + 60
    while box.record()["status"] != "unresponsive":
        assert time.monotonic() < deadline
        sweep()
        time.sleep(1)
    assert api("POST", f"{box.path}/rebuild").status_code in (200, 202)
    after = box.until("active")
    assert after["do_droplet_id"] != before["do_droplet_id"]
    for instance in instances:
        again = box.tools.until(instance["id"], "running", "stopped", seconds=150)
        assert (again["id"], again["ports"]) == (instance["id"], instance["ports"])
    assert box.serves()
    assert droplets_of(cloud, box) == [after["do_droplet_id"]]


def test_a_steady_state_asks_nothing_of_the_cloud(cloud: Account, sweep: Callable[[], None]) -> None:
    before = cloud.calls()
    for _ in range(2):
        sweep()
        time.sleep(1)
    assert cloud.calls() == before


def test_an_ended_toolbox_leaves_no_droplet_and_no_firewall(boxes: list[Box], api: Api, cloud: Account) -> None:
    for box in boxes:
        assert api("DELETE", box.path).status_code in (200, 202)
    deadline = time.monotonic() + 120
    left = {f"toolbox-{box.id}" for box in boxes}
    while left & ({tag for one in cloud.droplets() for tag in one["tags"]} | firewalls(cloud)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for box in boxes:
        box.until("deprovisioned", seconds=60)
    assert api("GET", "/toolboxes-user").json() == []


def firewalls(cloud: Account) -> set[str]:
    return {one["name"] for one in cloud("GET", "/v2/firewalls?per_page=200").json()["firewalls"]}
