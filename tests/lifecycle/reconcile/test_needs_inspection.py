"""After a command with an unknown outcome, the container is inspected once no earlier command can still start."""

from dataclasses import replace

from functions.domain.instance.condition import derive_status
from functions.domain.instance.model import DesiredState, Instance, InstanceStatus, check_move
from functions.domain.instance.request import request_state
from functions.domain.instance.spec import Mcp
from shim.contract import errors as shim_errors
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.droplet import Fault
from tests.fakes.mcp_server import Server
from tests.fakes.world import World, new
from tests.lifecycle.updates import patch

PULLED_IMAGE = "registry.test/pulled:1"


def test_unreachable_instance_is_inspected_before_it_is_reported_running(world: World) -> None:
    instance = world.deploy()
    world.droplet.reachable = False
    world.stop(instance.id)
    assert not world.start(instance.id).settled
    world.droplet.reachable = True
    world.sweep()
    stored = world.stored(instance)
    assert (stored.settled, stored.observed.reachable, stored.status) == (True, True, InstanceStatus.RUNNING)


def test_inspection_waits_until_an_unanswered_command_cannot_start(world: World) -> None:
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("the toolbox broke off"), routes.CREATE))
    sent_at = world.now()
    instance = world.deploy()
    assert not instance.settled
    seconds_until_command: list[float] = []

    def record(route: Route, name: str) -> None:
        seconds_until_command.append((world.now() - sent_at).total_seconds())

    world.droplet.before_command = record
    world.deliver()
    world.sweep(5)
    assert seconds_until_command[0] >= 20
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_container_that_exits_during_its_mcp_probe_is_started_again(world: World) -> None:
    wanted = new()
    instance = world.deploy(replace(wanted, spec=replace(wanted.spec, mcp=Mcp(3000, "/mcp"))))
    assert instance.status is InstanceStatus.DEPLOYING or not instance.settled
    world.droplet.die(instance.container_name)
    world.droplet.mcp = Server(["a"])
    world.sweep()
    assert world.droplet.running() == [instance.container_name]


def test_stop_during_an_update_survives_the_rollback(world: World) -> None:
    instance = world.deploy()
    answers: list[Instance] = []

    def stop(route: Route, name: str) -> None:
        world.droplet.before_command = None
        answers.append(world.stop(instance.id))

    assert not patch(world, instance, image=PULLED_IMAGE).settled
    world.droplet.before_command = stop
    world.deliver()
    world.sweep()
    assert answers
    assert world.droplet.running() == []
    assert world.stored(instance).status is InstanceStatus.STOPPED


def test_update_before_the_container_exists_is_an_allowed_status_move(world: World) -> None:
    wanted = new()
    instance = world.deploy(replace(wanted, spec=replace(wanted.spec, image=PULLED_IMAGE)))
    assert instance.status is InstanceStatus.DEPLOYING
    world.droplet.registry[PULLED_IMAGE] = None
    assert patch(world, instance, image=wanted.spec.image).status is InstanceStatus.RUNNING


def test_repeated_failed_attempts_record_one_status_event(world: World) -> None:
    world.droplet.faults += [Fault(shim_errors.EngineUnavailable("no engine"), routes.CREATE) for _ in range(3)]
    instance = world.deploy()
    world.sweep(10)
    world.sweep(20)
    events = world.events(instance)
    assert ("status_changed", "pending_deploy", "deploying") in events
    assert ("status_changed", "deploying", "deploying") not in events


def test_stop_before_the_first_observation_is_an_allowed_status_move(world: World) -> None:
    running = world.deploy()
    stopping = replace(request_state(running, DesiredState.STOPPED), status=InstanceStatus.PENDING_DEPLOY)
    check_move(stopping.status, derive_status(stopping))
    assert derive_status(stopping) is InstanceStatus.STOPPING
