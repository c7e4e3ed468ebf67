"""An instance with `mcp` runs once its server answers as an MCP server does."""

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


def tools_of(instance: Instance) -> int | None:
    return instance.observed.mcp.tools_count if instance.observed.mcp else None


def test_the_number_and_the_hash_of_the_tools_are_kept(world: World) -> None:
    world.droplet.mcp = server = Server(["b", "a"])
    instance = world.deploy(with_mcp())
    assert (instance.status, tools_of(instance)) == (InstanceStatus.RUNNING, 2)
    assert server.seen == ["initialize", "notifications/initialized", "tools/list", "goodbye"]


def test_the_hash_is_the_same_in_any_order_and_any_form_of_the_answer(world: World) -> None:
    world.droplet.mcp = Server(["b", "a", "c"])
    first = world.deploy(with_mcp())
    world.droplet.mcp = Server(["c", "b", "a"], stream=True, page=2)
    second = world.restart(first.id)
    assert first.observed.mcp and second.observed.mcp
    assert first.observed.mcp.tools_hash == second.observed.mcp.tools_hash
    assert first.observed.mcp.endpoint_id != second.observed.mcp.endpoint_id


def test_it_is_starting_until_the_server_answers_and_the_caller_is_not_kept(world: World) -> None:
    instance = world.deploy(with_mcp())
    assert (instance.status, instance.settled) == (InstanceStatus.STARTING, False)
    world.droplet.mcp = Server(["a"])
    world.sweep()
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_a_server_that_needs_a_moment_is_waited_for_within_the_request(world: World) -> None:
    began = world.time

    def slow(route: Route, name: str) -> None:
        if (world.time - began).total_seconds() > 3:
            world.droplet.mcp = Server(["a"])

    world.droplet.before_command = slow
    assert world.deploy(with_mcp()).status is InstanceStatus.RUNNING


def test_a_server_that_does_not_speak_mcp_is_not_running_and_the_record_says_why(world: World) -> None:
    world.droplet.mcp = lambda request: messages.Response(200, {}, "<html>", truncated=False)
    instance = world.deploy(with_mcp())
    assert instance.status is InstanceStatus.STARTING
    assert instance.observed.obstacle
    assert instance.observed.obstacle.code == "not-ready"


def test_a_tool_that_vanishes_is_an_event(world: World) -> None:
    world.droplet.mcp = Server(["a", "b"])
    instance = world.deploy(with_mcp())
    world.droplet.mcp = Server(["a"])
    world.restart(instance.id)
    assert ("tools_changed", None, None) in world.events(instance)
    assert tools_of(world.stored(instance)) == 1


def test_a_container_that_is_becoming_healthy_is_waited_for(world: World) -> None:
    world.droplet.health = ["starting", "starting", "healthy"]
    instance = world.deploy()
    assert instance.status is InstanceStatus.RUNNING
    assert instance.observed.container
    assert instance.observed.container.health == "healthy"
