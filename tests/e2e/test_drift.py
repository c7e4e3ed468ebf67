"""Changes made by hand on a droplet are repaired and reported; containers of others are left alone."""

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

SMALL_MEMORY = {"resourceLimits": {"memory": "128m"}}
# The command of an instance replaces the image's entrypoint, so it names the image's interpreter.
NODE = ["node", "-e"]


@pytest.fixture
def sweep(local_world: World) -> Callable[[], None]:
    platform = Api(local_world.gateway, Issuer(local_world).service_token())

    def now() -> None:
        assert platform("POST", "/sweep").status_code == 200

    return now


@pytest.fixture
def running(tools: Tools, image: str, name: str) -> Iterator[dict[str, Any]]:
    tools.deploy(image, name, **SMALL_MEMORY)
    yield tools.wait_for(name, "running")


def sweep_until(
    condition: Callable[[], bool], sweep: Callable[[], None], description: str, seconds: float = 90
) -> None:
    """Sweep more often than the scheduler does, until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not {description} after {seconds} s"
        sweep()
        time.sleep(2)


def state_of(droplet: Droplet, container: str) -> str:
    state = droplet.run("docker", "ps", "--all", "--filter", f"name=^{container}$", "--format", "{{.State}}")
    return state.strip()


@pytest.mark.parametrize(
    "change",
    [
        ["docker", "rm", "--force", "{name}"],
        ["docker", "stop", "--time", "0", "{name}"],
        ["docker", "kill", "{name}"],
        ["docker", "rename", "{name}", "renamed-by-hand"],
        ["docker", "pause", "{name}"],
    ],
    ids=lambda change: change[1],
)
def test_container_changed_by_hand_runs_again_under_its_name(
    tools: Tools, droplet: Droplet, sweep: Callable[[], None], running: dict[str, Any], change: list[str]
) -> None:
    container, name = running["container_name"], running["instance_name_on_toolbox"]
    sweep()
    droplet.run(*(argument.format(name=container) for argument in change))
    sweep_until(lambda: state_of(droplet, container) == "running", sweep, "running again")
    record = tools.wait_for(name, "running")
    assert record["container_name"] == container
    assert state_of(droplet, "renamed-by-hand") == ""


def test_limits_changed_by_hand_are_restored(
    tools: Tools, droplet: Droplet, sweep: Callable[[], None], running: dict[str, Any]
) -> None:
    container = running["container_name"]
    inspect = f"docker inspect --format '{{{{.State.Status}}}} {{{{.HostConfig.PidsLimit}}}}' {container}"
    sweep()
    droplet.run("docker", "update", "--pids-limit", "99", container)
    # While the container is replaced, there is none to inspect.
    sweep_until(
        lambda: droplet.run("sh", "-c", f"{inspect} || true").strip() == "running 256",
        sweep,
        "limited to 256 pids again",
    )
    assert tools.wait_for(running["instance_name_on_toolbox"], "running")


def test_container_without_our_labels_is_left_alone(
    tools: Tools, image: str, droplet: Droplet, sweep: Callable[[], None]
) -> None:
    foreign = f"tool-{uuid.uuid4()}-g1"
    droplet.run("docker", "run", "--detach", "--name", foreign, image)
    try:
        for _ in range(2):
            sweep()
            time.sleep(3)
        assert state_of(droplet, foreign) == "running"
        assert foreign not in [record["container_name"] for record in tools.api("GET", tools.path).json()]
    finally:
        droplet.run("docker", "rm", "--force", foreign)


def test_crash_loop_is_stopped_with_its_count_and_last_exit_code(
    tools: Tools, image: str, name: str, droplet: Droplet, sweep: Callable[[], None]
) -> None:
    tools.deploy(image, name, command=[*NODE, "setTimeout(() => process.exit(7), 300)"], **SMALL_MEMORY)
    sweep_until(
        lambda: tools("GET", name).json()["status_on_toolbox"] == "error_runtime", sweep, "stopped as a crash loop"
    )
    record = tools("GET", name).json()
    assert record["status_reason"]["code"] == "crash-loop"
    # Between two restarts the container runs for a moment; then the engine does not report its last exit code.
    message = record["status_reason"]["message"]
    assert "exit code 7" in message or "last exit code is unknown" in message
    assert record["restart_count"] >= 5
    assert state_of(droplet, record["container_name"]) == "exited"
    assert "crashed" in [event["type"] for event in tools("GET", name, "/events").json()]


def test_out_of_memory_exit_is_reported_as_such(tools: Tools, image: str, name: str, sweep: Callable[[], None]) -> None:
    greedy = "const blocks = []; setTimeout(() => { for (;;) blocks.push(Buffer.alloc(1 << 20, 1)) }, 2000)"
    body = {"command": [*NODE, greedy], "restartPolicy": "no", "resourceLimits": {"memory": "64m"}}
    tools.deploy(image, name, **body)

    def exited() -> bool:
        return bool(tools("GET", name).json()["exit"])

    sweep_until(exited, sweep, "exited")
    record = tools("GET", name).json()
    assert record["exit"]["oom_killed"] is True
    crashed = [event for event in tools("GET", name, "/events").json() if event["type"] == "crashed"]
    assert "out of memory" in crashed[0]["detail"]


def test_post_mortem_of_a_deleted_container_is_kept(tools: Tools, running: dict[str, Any]) -> None:
    name = running["instance_name_on_toolbox"]
    deadline = time.monotonic() + 60
    while not tools("GET", name, "/logs").json()["logs"]:
        assert time.monotonic() < deadline, "the container logged nothing"
        time.sleep(0.5)
    assert tools("DELETE", name).status_code == 200
    [post_mortem] = tools("GET", running["id"], "/post-mortems").json()
    assert any("3001" in line for line in post_mortem["logs"])
    assert post_mortem["container"]["id"] == running["container_id"]


def test_update_is_proven_before_the_previous_version_is_removed(
    tools: Tools, droplet: Droplet, running: dict[str, Any]
) -> None:
    name = running["instance_name_on_toolbox"]
    broken_update = tools("PATCH", name, json={"command": ["/no/such/program"], "init": False})
    assert broken_update.status_code in (200, 202)
    record = tools.wait_for(name, "running")
    assert record["container_id"] == running["container_id"]
    assert record["status_reason"]["code"] == "start-failed"
    good_update = tools("PATCH", name, json={"environmentVariables": {"A": "b"}, "init": True})
    assert good_update.status_code in (200, 202)
    record = tools.wait_for(name, "running")
    assert record["container_name"] != running["container_name"]
    assert state_of(droplet, running["container_name"]) == ""
    assert record["spec"]["environmentVariables"] == {"A": "b"}


def test_instances_return_after_the_engines_data_was_wiped(
    api: Api, tools: Tools, droplet: Droplet, sweep: Callable[[], None], running: dict[str, Any]
) -> None:
    """All of the engine's state is removed but the shim's certificate; the shim is pulled as at the first boot."""
    droplet.run("sh", "-c", "cp -a /var/lib/docker/volumes/toolboxes-shim /root/shim-volume")
    droplet.run("systemctl", "stop", "docker.service", "docker.socket")
    droplet.run("sh", "-c", "rm -rf /var/lib/docker/*")
    droplet.run("mkdir", "-p", "/var/lib/docker/volumes")
    droplet.run("mv", "/root/shim-volume", "/var/lib/docker/volumes/toolboxes-shim")
    droplet.run("systemctl", "start", "docker.service")
    droplet.run("/usr/local/sbin/toolboxes-install", seconds=200)
    name = running["instance_name_on_toolbox"]
    sweep_until(lambda: state_of(droplet, running["container_name"]) == "running", sweep, "running again", seconds=240)
    record = tools.wait_for(name, "running")
    assert record["container_id"] != running["container_id"]
    toolbox = api("GET", f"/toolboxes-user/{tools.path.split('/')[2]}").json()
    assert toolbox["status"] == "active"


def test_allocated_host_port_held_by_another_process_is_reallocated(
    tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    tools.deploy(image, name, portMappings=[{"containerPort": 3001}], start=False)
    (allocated,) = tools.wait_for(name, "stopped")["ports"]
    bind = f"socket.create_server(('0.0.0.0', {allocated['host_port']}))"
    droplet.run("sh", "-c", f'python3 -c "import socket, time; s = {bind}; time.sleep(60)" >/dev/null 2>&1 &')
    wait_until(lambda: listens(str(droplet.address), allocated["host_port"]), 20, "the other process to listen")
    tools("POST", name, "/start")
    record = tools.wait_for(name, "running")
    (reallocated,) = record["ports"]
    assert (
        reallocated["host_port"] != allocated["host_port"]
        and record["generation"] == record["observed_generation"] == 2
    )
    event_types = {event["type"] for event in tools("GET", name, "/events").json()}
    assert "port_reallocated" in event_types
    wait_until(lambda: listens(str(droplet.address), reallocated["host_port"]), 20, "the instance's server to listen")
