"""Containers survive the restart of any component, because only Docker keeps them.

The agent that this system replaces kept its containers in a map in memory and lost them at every restart.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.local import deployed, emulators, services
from infra.local.digitalocean.account import Account
from infra.local.droplet import Droplet
from infra.local.steps import wait_until
from infra.local.toolbox import shim_answers
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world
SECONDS = 120


def kill_the_shim(local_world: World, cloud: Account, droplet: Droplet) -> None:
    inspect = ("docker", "inspect", "--format", "{{.State.Pid}}", "toolboxes-shim")
    process = droplet.run(*inspect).strip()
    droplet.run("kill", "-9", process)
    wait_until(lambda: droplet.run(*inspect).strip() not in ("0", process), SECONDS, "the engine to restart the shim")


def reboot_the_droplet(local_world: World, cloud: Account, droplet: Droplet) -> None:
    cloud.act(droplet.id, "reboot")


def restart_every_function(local_world: World, cloud: Account, droplet: Droplet) -> None:
    processes = services.of_world(local_world)
    for function in deployed.FUNCTIONS:
        processes.restart(function)


def rotate_the_command_key_while_the_droplet_is_off(local_world: World, cloud: Account, droplet: Droplet) -> None:
    """When the droplet is on again, the key in its user-data no longer signs any command."""
    cloud.act(droplet.id, "power_off")
    (local_world.directory / "command.pem").unlink()
    services.up(local_world, emulators.installed())
    cloud.act(droplet.id, "power_on")


@pytest.mark.parametrize(
    "fault",
    [
        kill_the_shim,
        reboot_the_droplet,
        restart_every_function,
        rotate_the_command_key_while_the_droplet_is_off,
    ],
)
def test_container_is_listed_stopped_and_started_after_a_restart(
    local_world: World,
    api: Api,
    cloud: Account,
    tools: Tools,
    image: str,
    name: str,
    droplet: Droplet,
    fault: Callable[[World, Account, Droplet], None],
) -> None:
    assert tools.deploy(image, name).status_code in (201, 202)
    before = tools.wait_for(name, "running")
    fault(local_world, cloud, droplet)
    wait_until(lambda: shim_answers(droplet), SECONDS, "the shim to answer")
    wait_until(lambda: api("GET", "/toolboxes-user").status_code == 200, SECONDS, "the functions to answer")
    listed = api("GET", tools.path).json()
    assert before["id"] in [record["id"] for record in listed]
    stopped = tools("POST", name, "/stop").json()
    stopped = stopped if stopped["status_on_toolbox"] == "stopped" else tools.wait_for(name, "stopped")
    assert stopped["container_id"] == before["container_id"]
    started = tools("POST", name, "/start").json()
    assert (started["status_on_toolbox"], started["container_id"]) == ("running", before["container_id"])
    assert tools("GET", name, "/logs").json()["success"] is True
