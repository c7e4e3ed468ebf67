"""No memory of containers but Docker's: any part may be killed, and each container is known as before.

The agent that this system replaces kept a map of its containers in memory and forgot them at every restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from infra.local import deployed, emulators, services
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.toolbox import shim_answers
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world


def until(held: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < deadline, f"not {what} after {seconds} s"
        time.sleep(0.2)


def kill_the_shim(local_world: World, cloud: Account, droplet: Droplet) -> None:
    inspect = ("docker", "inspect", "--format", "{{.State.Pid}}", "toolboxes-shim")
    process = droplet.run(*inspect).strip()
    droplet.run("kill", "-9", process)
    until(lambda: droplet.run(*inspect).strip() not in ("0", process), "restarted by the engine")


def reboot_the_droplet(local_world: World, cloud: Account, droplet: Droplet) -> None:
    cloud.act(droplet.id, "reboot")


def restart_every_function(local_world: World, cloud: Account, droplet: Droplet) -> None:
    processes = services.of_world(local_world)
    for function in deployed.FUNCTIONS:
        processes.restart(function)


def rotate_the_command_key_while_the_droplet_is_off(local_world: World, cloud: Account, droplet: Droplet) -> None:
    """However long that was: when it is back, nobody signs any more with the key that its user-data named."""
    cloud.act(droplet.id, "power_off")
    (local_world.directory / "command.pem").unlink()
    services.up(local_world, emulators.installed())
    cloud.act(droplet.id, "power_on")


@pytest.mark.parametrize(
    "blow",
    [
        kill_the_shim,
        reboot_the_droplet,
        restart_every_function,
        rotate_the_command_key_while_the_droplet_is_off,
    ],
)
def test_a_container_is_known_listed_startable_and_stoppable_after(
    local_world: World, api: Api, cloud: Account, tools: Tools, image: str, name: str, droplet: Droplet,
    blow: Callable[[World, Account, Droplet], None],
) -> None:  # fmt: skip
    assert tools.deploy(image, name).status_code in (201, 202)
    before = tools.wait_for(name, "running")
    blow(local_world, cloud, droplet)
    until(lambda: shim_answers(droplet), "answering")
    until(lambda: api("GET", "/toolboxes-user").status_code == 200, "serving")
    listed = api("GET", tools.path).json()
    assert before["id"] in [record["id"] for record in listed]
    stopped = tools("POST", name, "/stop").json()
    stopped = stopped if stopped["status_on_toolbox"] == "stopped" else tools.wait_for(name, "stopped")
    assert stopped["container_id"] == before["container_id"]
    started = tools("POST", name, "/start").json()
    assert (started["status_on_toolbox"], started["container_id"]) == ("running", before["container_id"])
    assert tools("GET", name, "/logs").json()["success"] is True
