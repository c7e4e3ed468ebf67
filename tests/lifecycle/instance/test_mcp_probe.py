"""An instance with `mcp` is `running` only once its server has answered the MCP probe."""

from dataclasses import replace

from functions.domain.instance.model import Instance, InstanceStatus
from functions.domain.instance.spec import Mcp
from functions.lifecycle.instance.deploy import NewInstance
from shim.contract import messages
from shim.contract.routes import Route
from tests.fakes.mcp_server import Server
from tests.fakes.world import World, new


def with_mcp() -> NewInstance:
    wanted = new()
    return replace(wanted, spec=replace(wanted.spec, mcp=Mcp(3000, "/mcp")))


def tools_count(instance: Instance) -> int | None:
    return instance.observed.mcp.tools_count if instance.observed.mcp else None


def test_probe_records_the_number_of_tools(world: World) -> None:
    world.droplet.mcp = server = Server(["b", "a"])
    instance = world.deploy(with_mcp())
    assert (instance.status, tools_count(instance)) == (InstanceStatus.RUNNING, 2)
    assert server.methods == ["initialize", "notifications/initialized", "tools/list", "goodbye"]


def test_tools_hash_ignores_order_paging_and_answer_format(world: World) -> None:
    world.droplet.mcp = Server(["b", "a", "c"])
    first = world.deploy(with_mcp())
    world.droplet.mcp = Server(["c", "b", "a"], stream=True, page=2)
    second = world.restart(first.id)
    assert first.observed.mcp and second.observed.mcp
    assert first.observed.mcp.tools_hash == second.observed.mcp.tools_hash
    assert first.observed.mcp.endpoint_id != second.observed.mcp.endpoint_id


def test_deploy_answers_starting_while_the_server_does_not_answer(world: World) -> None:
    instance = world.deploy(with_mcp())
    assert (instance.status, instance.settled) == (InstanceStatus.STARTING, False)
    world.droplet.mcp = Server(["a"])
    world.sweep()
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_deploy_waits_a_few_seconds_for_a_slow_server(world: World) -> None:
    deployed_at = world.time

    def answer_after_three_seconds(route: Route, name: str) -> None:
        if (world.time - deployed_at).total_seconds() > 3:
            world.droplet.mcp = Server(["a"])

    world.droplet.before_command = answer_after_three_seconds
    assert world.deploy(with_mcp()).status is InstanceStatus.RUNNING


def test_server_that_does_not_speak_mcp_stays_starting_with_a_reason(world: World) -> None:
    world.droplet.mcp = lambda request: messages.Response(200, {}, "<html>", truncated=False)
    instance = world.deploy(with_mcp())
    assert instance.status is InstanceStatus.STARTING
    assert instance.observed.obstacle
    assert instance.observed.obstacle.code == "not-ready"


def test_changed_tools_are_an_event(world: World) -> None:
    world.droplet.mcp = Server(["a", "b"])
    instance = world.deploy(with_mcp())
    world.droplet.mcp = Server(["a"])
    world.restart(instance.id)
    assert ("tools_changed", None, None) in world.events(instance)
    assert tools_count(world.stored(instance)) == 1


def test_deploy_waits_for_a_container_to_become_healthy(world: World) -> None:
    world.droplet.health = ["starting", "starting", "healthy"]
    instance = world.deploy()
    assert instance.status is InstanceStatus.RUNNING
    assert instance.observed.container
    assert instance.observed.container.health == "healthy"
