"""What a hand on the droplet changes is put right, told, and never made up; what is not ours is left alone."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.steps import listens, wait_until
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world

SMALL = {"resourceLimits": {"memory": "128m"}}
# The image's node, as the shim hands it a command.
NODE = ["node", "-e"]


@pytest.fixture
def sweep(local_world: World) -> Callable[[], None]:
    platform = Api(local_world.gateway, Issuer(local_world).service_token())

    def now() -> None:
        assert platform("POST", "/sweep").status_code == 200

    return now


@pytest.fixture
def running(tools: Tools, image: str, name: str) -> Iterator[dict[str, Any]]:
    tools.deploy(image, name, **SMALL)
    yield tools.wait_for(name, "running")


def until(held: Callable[[], bool], sweep: Callable[[], None], what: str, seconds: float = 90) -> None:
    """Sweeps as the scheduler would, only sooner."""
    deadline = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < deadline, f"not {what}"
        sweep()
        time.sleep(2)


def seen(droplet: Droplet, container: str) -> str:
    shown = droplet.run("docker", "ps", "--all", "--filter", f"name=^{container}$", "--format", "{{.State}}")
    return shown.strip()


@pytest.mark.parametrize(
    "hand",
    [
        ["docker", "rm", "--force", "{name}"],
        ["docker", "stop", "--time", "0", "{name}"],
        ["docker", "kill", "{name}"],
        ["docker", "rename", "{name}", "kept-by-hand"],
        ["docker", "pause", "{name}"],
    ],
    ids=lambda hand: hand[1],
)
def test_a_container_is_as_it_was_after(
    tools: Tools, droplet: Droplet, sweep: Callable[[], None], running: dict[str, Any], hand: list[str]
) -> None:
    container, name = running["container_name"], running["instance_name_on_toolbox"]
    sweep()
    droplet.run(*(word.format(name=container) for word in hand))
    until(lambda: seen(droplet, container) == "running", sweep, "running again")
    record = tools.wait_for(name, "running")
    assert record["container_name"] == container
    assert seen(droplet, "kept-by-hand") == ""


def test_limits_changed_by_hand_are_set_again(
    tools: Tools, droplet: Droplet, sweep: Callable[[], None], running: dict[str, Any]
) -> None:
    container = running["container_name"]
    inspect = f"docker inspect --format '{{{{.State.Status}}}} {{{{.HostConfig.PidsLimit}}}}' {container}"
    sweep()
    droplet.run("docker", "update", "--pids-limit", "99", container)
    # While it is made anew there is none to be inspected.
    until(lambda: droplet.run("sh", "-c", f"{inspect} || true").strip() == "running 256", sweep, "256 again")
    assert tools.wait_for(running["instance_name_on_toolbox"], "running")


def test_a_container_without_our_labels_is_never_touched(
    tools: Tools, image: str, droplet: Droplet, sweep: Callable[[], None]
) -> None:
    stray = f"tool-{uuid.uuid4()}-g1"
    droplet.run("docker", "run", "--detach", "--name", stray, image)
    try:
        for _ in range(2):
            sweep()
            time.sleep(3)
        assert seen(droplet, stray) == "running"
        assert stray not in [record["container_name"] for record in tools.api("GET", tools.path).json()]
    finally:
        droplet.run("docker", "rm", "--force", stray)


def test_a_crash_loop_is_ended_with_its_count_and_its_last_exit(
    tools: Tools, image: str, name: str, droplet: Droplet, sweep: Callable[[], None]
) -> None:
    tools.deploy(image, name, command=[*NODE, "setTimeout(() => process.exit(7), 300)"], **SMALL)
    until(lambda: tools("GET", name).json()["status_on_toolbox"] == "error_runtime", sweep, "given up")
    record = tools("GET", name).json()
    assert record["status_reason"]["code"] == "crash-loop"
    # Between two restarts it runs for a moment, and then the engine does not say how it ended before.
    assert "exit code 7" in record["status_reason"]["message"] or "not seen" in record["status_reason"]["message"]
    assert record["restart_count"] >= 5
    assert seen(droplet, record["container_name"]) == "exited"
    assert "crashed" in [event["type"] for event in tools("GET", name, "/events").json()]


def test_running_out_of_memory_is_told_apart_from_an_ordinary_exit(
    tools: Tools, image: str, name: str, sweep: Callable[[], None]
) -> None:
    greedy = "const kept = []; setTimeout(() => { for (;;) kept.push(Buffer.alloc(1 << 20, 1)) }, 2000)"
    body = {"command": [*NODE, greedy], "restartPolicy": "no", "resourceLimits": {"memory": "64m"}}
    tools.deploy(image, name, **body)

    def ended() -> bool:
        return bool(tools("GET", name).json()["exit"])

    until(ended, sweep, "ended")
    record = tools("GET", name).json()
    assert record["exit"]["oom_killed"] is True
    crashed = [event for event in tools("GET", name, "/events").json() if event["type"] == "crashed"]
    assert "out of memory" in crashed[0]["detail"]


def test_the_last_words_of_a_deleted_container_are_kept(tools: Tools, running: dict[str, Any]) -> None:
    name = running["instance_name_on_toolbox"]
    deadline = time.monotonic() + 60
    while not tools("GET", name, "/logs").json()["logs"]:
        assert time.monotonic() < deadline, "it says nothing"
        time.sleep(0.5)
    assert tools("DELETE", name).status_code == 200
    [kept] = tools("GET", running["id"], "/post-mortems").json()
    assert any("3001" in line for line in kept["logs"])
    assert kept["container"]["id"] == running["container_id"]


def test_an_update_is_proven_before_the_old_version_goes(
    tools: Tools, droplet: Droplet, running: dict[str, Any]
) -> None:
    name = running["instance_name_on_toolbox"]
    broken = tools("PATCH", name, json={"command": ["/no/such/program"], "init": False})
    assert broken.status_code in (200, 202)
    record = tools.wait_for(name, "running")
    assert record["container_id"] == running["container_id"]
    assert record["status_reason"]["code"] == "start-failed"
    fine = tools("PATCH", name, json={"environmentVariables": {"A": "b"}, "init": True})
    assert fine.status_code in (200, 202)
    record = tools.wait_for(name, "running")
    assert record["container_name"] != running["container_name"]
    assert seen(droplet, running["container_name"]) == ""
    assert record["spec"]["environmentVariables"] == {"A": "b"}


def test_a_data_directory_that_was_wiped_is_another_engine_and_its_instances_return(
    api: Api, tools: Tools, droplet: Droplet, sweep: Callable[[], None], running: dict[str, Any]
) -> None:
    """All of the engine's state goes but the shim's certificate; the shim is fetched as at the first boot."""
    droplet.run("sh", "-c", "cp -a /var/lib/docker/volumes/toolboxes-shim /root/shim-volume")
    droplet.run("systemctl", "stop", "docker.service", "docker.socket")
    droplet.run("sh", "-c", "rm -rf /var/lib/docker/*")
    droplet.run("mkdir", "-p", "/var/lib/docker/volumes")
    droplet.run("mv", "/root/shim-volume", "/var/lib/docker/volumes/toolboxes-shim")
    droplet.run("systemctl", "start", "docker.service")
    droplet.run("/usr/local/sbin/toolboxes-install", seconds=200)
    name = running["instance_name_on_toolbox"]
    until(lambda: seen(droplet, running["container_name"]) == "running", sweep, "there again", seconds=240)
    record = tools.wait_for(name, "running")
    assert record["container_id"] != running["container_id"]
    toolbox = api("GET", f"/toolboxes-user/{tools.path.split('/')[2]}").json()
    assert toolbox["status"] == "active"


def test_a_drawn_host_port_that_another_process_of_the_droplet_holds_is_drawn_anew(
    tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    tools.deploy(image, name, portMappings=[{"containerPort": 3001}], start=False)
    (drawn,) = tools.wait_for(name, "stopped")["ports"]
    held = f"socket.create_server(('0.0.0.0', {drawn['host_port']}))"
    droplet.run("sh", "-c", f'python3 -c "import socket, time; s = {held}; time.sleep(60)" >/dev/null 2>&1 &')
    wait_until(lambda: listens(str(droplet.address), drawn["host_port"]), 20, "the other process")
    tools("POST", name, "/start")
    record = tools.wait_for(name, "running")
    (another,) = record["ports"]
    assert another["host_port"] != drawn["host_port"] and record["generation"] == record["observed_generation"] == 2
    told = {event["type"] for event in tools("GET", name, "/events").json()}
    assert "port_redrawn" in told
    wait_until(lambda: listens(str(droplet.address), another["host_port"]), 20, "the instance's server")
