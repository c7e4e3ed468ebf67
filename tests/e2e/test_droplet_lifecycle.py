"""Three toolboxes of one account over HTTP: provisioned, isolated by the firewall, broken one by one, deprovisioned.

The tests run in the order of a droplet's life. Each one repairs what it breaks before the next begins.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests

from infra.local import services
from infra.local.digitalocean import catalogue
from infra.local.digitalocean.account import Account
from infra.local.digitalocean.records import Records
from infra.local.issuer import Issuer
from infra.local.steps import wait_until
from infra.local.world import World
from tests.e2e.conftest import Api
from tests.e2e.toolbox import (
    DROPLET,
    FORBIDDEN_URLS,
    MCP_SERVER,
    SERVER,
    SMALL_MEMORY,
    ToolboxClient,
    droplets_of,
    fetch_from_container,
    firewalls,
    secrets,
    state_of,
    wait_until_reachable,
)

pytestmark = [pytest.mark.world, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def api(local_world: World) -> Api:
    return Api(local_world.gateway, Issuer(local_world).token(f"fleet-{uuid.uuid4().hex[:8]}"))


@pytest.fixture(scope="module")
def sweep(local_world: World) -> Callable[[], None]:
    platform = Api(local_world.gateway, Issuer(local_world).service_token())

    def now() -> None:
        with suppress(requests.RequestException):
            platform("POST", "/sweep")

    return now


@pytest.fixture(scope="module")
def toolboxes(local_world: World, api: Api, cloud: Account, image: str) -> Iterator[list[ToolboxClient]]:
    """Three toolboxes, provisioned at once by an API that is rate-limited, loses an answer and adds tags late.

    The API does not fail: the functions then wait longer for a possible droplet than a test should last.
    """
    creates = {"method": "POST", "path": "/v2/droplets"}
    cloud.inject({"kind": "limited", **creates, "seconds": 1}, {"kind": "lost", **creates}, tags_late_seconds=5)

    def provision(number: int) -> ToolboxClient:
        image_of = {"imageSlug": catalogue.PLAIN} if number == 1 else {}
        answer = api("POST", "/toolboxes-user", json={"name": f"fleet {number}", **DROPLET, **image_of})
        assert answer.status_code == 201, answer.text
        toolbox = ToolboxClient(local_world, api, answer.json()["id"])
        toolbox.wait_for("active")
        deployed = toolbox.tools.deploy(image, SERVER, **MCP_SERVER, **SMALL_MEMORY)
        assert deployed.status_code in (201, 202), deployed.text
        return toolbox

    with ThreadPoolExecutor(3) as pool:
        provisioned = list(pool.map(provision, range(3)))
    cloud.inject()
    yield provisioned
    for toolbox in provisioned:
        api("DELETE", toolbox.path)


def test_three_concurrent_toolboxes_serve_each_on_one_droplet_of_its_own(
    toolboxes: list[ToolboxClient], cloud: Account
) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ToolboxClient.serves, toolboxes)) == [True] * 3
    assert [droplets_of(cloud, toolbox) for toolbox in toolboxes] == [
        [toolbox.record()["do_droplet_id"]] for toolbox in toolboxes
    ]


def test_droplet_of_a_plain_image_installs_the_missing_packages(toolboxes: list[ToolboxClient]) -> None:
    plain = toolboxes[1].droplet
    assert toolboxes[1].record()["image_slug"] == catalogue.PLAIN
    assert "docker.io" in plain.run("cat", "/var/log/apt/history.log").partition("Commandline: apt-get -o")[2]
    wait_until(
        lambda: state_of(plain, "toolboxes-install.service") == "active", 120, "the installation on the plain image"
    )
    for service in ("toolboxes-wall.service", "docker.service", "apt-daily-upgrade.timer"):
        assert state_of(plain, service) == "active", service
    assert plain.run("unattended-upgrade", "--help")


def test_user_data_holds_no_secret_of_the_control_plane(local_world: World, toolboxes: list[ToolboxClient]) -> None:
    record = Records(local_world, "droplets").get(toolboxes[0].droplet.id)
    assert record
    all_secrets = list(secrets(local_world))
    assert len(all_secrets) > 10
    assert not [name for name, secret in all_secrets if secret in record["user_data"]]


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_container_reaches_neither_user_data_nor_the_shim(toolboxes: list[ToolboxClient], url: str) -> None:
    assert fetch_from_container(toolboxes[0], url) in ("refused ECONNREFUSED", "refused TimeoutError")


def test_droplet_itself_reaches_user_data_and_the_shim(toolboxes: list[ToolboxClient]) -> None:
    """So it is the packet filter that stops the container in the test before."""
    script = (
        "import urllib.request as r, ssl; c = ssl._create_unverified_context(); print(r.urlopen({!r}, **{}).status)"
    )
    droplet = toolboxes[0].droplet
    assert droplet.run("python3", "-c", script.format("http://169.254.169.254/metadata/v1/user-data", "{}")) == "200"
    assert droplet.run("python3", "-c", script.format("https://172.17.0.1:30000/health", "{'context': c}")) == "200"


def test_container_crash_is_repaired_without_a_sweep(local_world: World, toolboxes: list[ToolboxClient]) -> None:
    toolbox, processes = toolboxes[1], services.of_world(local_world)
    assert toolbox.serves()
    container = toolbox.tools("GET", SERVER).json()["container_name"]
    processes.halt("scheduler")
    try:
        toolbox.droplet.run("docker", "kill", container)
        deadline = time.monotonic() + 45
        while "crashed" not in (
            event_types := [event["type"] for event in toolbox.tools("GET", SERVER, "/events").json()]
        ):
            assert time.monotonic() < deadline, event_types
            time.sleep(0.5)
        assert toolbox.serves()
    finally:
        processes.start("scheduler")


def test_broken_engine_on_one_droplet_does_not_affect_the_others(
    toolboxes: list[ToolboxClient], image: str, sweep: Callable[[], None]
) -> None:
    broken, *others = toolboxes
    broken.droplet.run("systemctl", "stop", "docker.service", "docker.socket")
    try:
        sweep()

        def works(toolbox: ToolboxClient) -> bool:
            toolbox.tools.deploy(image, "beside", **SMALL_MEMORY)
            toolbox.tools.wait_for("beside", "running")
            return toolbox.tools("POST", "beside", "/stop").json()["status_on_toolbox"] in ("stopping", "stopped")

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(works, others)) == [True, True]
        assert broken.tools("GET", SERVER).json()["reachable"] is False
    finally:
        broken.droplet.run("systemctl", "start", "docker.service")
    wait_until_reachable(broken, sweep)
    assert broken.serves()


def test_deploy_completes_after_the_droplet_went_down_meanwhile(
    toolboxes: list[ToolboxClient], cloud: Account, image: str, sweep: Callable[[], None]
) -> None:
    def final_record(toolbox: ToolboxClient, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + 170
        record: dict[str, Any] = toolbox.tools("GET", name).json()
        while record["status_on_toolbox"] not in ("running", "error_install"):
            assert time.monotonic() < deadline, record
            sweep()
            time.sleep(2)
            record = toolbox.tools("GET", name).json()
        return record

    def deploy_during(toolbox: ToolboxClient, action: str) -> None:
        with ThreadPoolExecutor(1) as pool:
            deploy = pool.submit(toolbox.tools.deploy, image, action, **SMALL_MEMORY, **MCP_SERVER)
            time.sleep(0.2)
            cloud.act(toolbox.droplet.id, action)
            assert deploy.result().status_code in (201, 202, 503, 504)
        wait_until_reachable(toolbox, sweep)
        record = final_record(toolbox, action)
        # Also where the engine still holds the port since its power was cut: then another port is allocated.
        assert record["status_on_toolbox"] == "running", record
        listed = toolbox.droplet.run(
            "docker", "ps", "--all", "--filter", f"name={record['id']}", "--format", "{{.State}}"
        )
        assert listed == "running"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(deploy_during, (toolboxes[0], toolboxes[2]), ("reboot", "power_cycle")))


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_container_is_still_isolated_after_a_reboot(toolboxes: list[ToolboxClient], url: str) -> None:
    assert fetch_from_container(toolboxes[0], url) in ("refused ECONNREFUSED", "refused TimeoutError")


def test_rebuild_after_the_droplet_was_destroyed_restores_its_instances(
    toolboxes: list[ToolboxClient], api: Api, cloud: Account, sweep: Callable[[], None]
) -> None:
    toolbox = toolboxes[2]
    before, instances = toolbox.record(), toolbox.tools.api("GET", toolbox.tools.path).json()
    cloud("DELETE", f"/v2/droplets/{before['do_droplet_id']}")
    deadline = time.monotonic() + 60
    while toolbox.record()["status"] != "unresponsive":
        assert time.monotonic() < deadline
        sweep()
        time.sleep(1)
    assert api("POST", f"{toolbox.path}/rebuild").status_code in (200, 202)
    after = toolbox.wait_for("active")
    assert after["do_droplet_id"] != before["do_droplet_id"]
    for instance in instances:
        restored = toolbox.tools.wait_for(instance["id"], "running", "stopped", seconds=150)
        assert (restored["id"], restored["ports"]) == (instance["id"], instance["ports"])
    assert toolbox.serves()
    assert droplets_of(cloud, toolbox) == [after["do_droplet_id"]]


def test_unchanged_toolboxes_cause_no_digitalocean_calls(cloud: Account, sweep: Callable[[], None]) -> None:
    before = cloud.calls()
    for _ in range(2):
        sweep()
        time.sleep(1)
    assert cloud.calls() == before


def test_deprovisioned_toolbox_leaves_no_droplet_and_no_firewall(
    toolboxes: list[ToolboxClient], api: Api, cloud: Account
) -> None:
    for toolbox in toolboxes:
        assert api("DELETE", toolbox.path).status_code in (200, 202)
    deadline = time.monotonic() + 120
    tags = {f"toolbox-{toolbox.id}" for toolbox in toolboxes}
    while tags & ({tag for droplet in cloud.droplets() for tag in droplet["tags"]} | firewalls(cloud)):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for toolbox in toolboxes:
        toolbox.wait_for("deprovisioned", seconds=60)
    assert api("GET", "/toolboxes-user").json() == []


def test_orphan_droplet_is_reported_and_left_alone(cloud: Account, sweep: Callable[[], None]) -> None:
    request = {
        "name": "orphan",
        "region": "fra1",
        "size": "s-1vcpu-1gb",
        "image": "debian-12-x64",
        "tags": ["toolboxes"],
    }
    orphan = cloud("POST", "/v2/droplets", json=request).json()["droplet"]["id"]
    try:
        sweep()
        status = subprocess.run(
            [sys.executable, "-m", "infra.local.status"], capture_output=True, text=True, check=False
        )
        assert status.returncode == 1, status.stdout
        assert re.search(r"orphan +orphan droplet", status.stdout), status.stdout + status.stderr
        assert orphan in [droplet["id"] for droplet in cloud.droplets()]
    finally:
        cloud("DELETE", f"/v2/droplets/{orphan}")
