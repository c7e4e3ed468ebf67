"""What is not known is looked at first, and believed only once nothing that was sent before can still begin."""

from dataclasses import replace

from functions.domain.instance.condition import derive_status
from functions.domain.instance.model import DesiredState, Instance, InstanceStatus, check_move
from functions.domain.instance.request import request_state
from functions.domain.instance.spec import Mcp
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from shim.contract import errors as shim_errors
from shim.contract import routes
from shim.contract.routes import Route
from tests.fakes.droplet import Fault
from tests.fakes.mcp_server import Server
from tests.fakes.world import CALLER, TOOLBOX, World, new

PULLED = "registry.test/pulled:1"


def patched(world: World, instance: Instance, image: str) -> Instance:
    changes = Changes(lambda old: replace(old, image=image))
    answer = update(world.deps, InstanceRequest(CALLER, TOOLBOX, instance.id), changes)
    assert isinstance(answer, Instance)
    return answer


def test_what_could_not_be_reached_is_looked_at_before_it_is_said_to_run(world: World) -> None:
    instance = world.deploy()
    world.droplet.reachable = False
    world.stop(instance.id)
    assert not world.start(instance.id).settled
    world.droplet.reachable = True
    world.sweep()
    stored = world.stored(instance)
    assert (stored.settled, stored.observed.reachable, stored.status) == (True, True, InstanceStatus.RUNNING)


def test_a_command_that_was_not_answered_is_waited_out_before_its_container_is_looked_at(world: World) -> None:
    world.droplet.faults.append(Fault(shim_errors.OutcomeUnknown("the toolbox broke off"), routes.CREATE))
    sent_at = world.now()
    instance = world.deploy()
    assert not instance.settled
    looked: list[float] = []

    def note(route: Route, name: str) -> None:
        looked.append((world.now() - sent_at).total_seconds())

    world.droplet.before_command = note
    world.deliver()
    world.sweep(5)
    assert looked[0] >= 20
    assert world.stored(instance).status is InstanceStatus.RUNNING


def test_a_container_that_ends_while_its_server_is_waited_for_is_started_again(world: World) -> None:
    wanted = new()
    instance = world.deploy(replace(wanted, spec=replace(wanted.spec, mcp=Mcp(3000, "/mcp"))))
    assert instance.status is InstanceStatus.DEPLOYING or not instance.settled
    world.droplet.die(instance.container_name)
    world.droplet.mcp = Server(["a"])
    world.sweep()
    assert world.droplet.running() == [instance.container_name]


def test_a_stop_is_kept_by_the_version_that_an_update_falls_back_on(world: World) -> None:
    instance = world.deploy()
    asked: list[Instance] = []

    def stop(route: Route, name: str) -> None:
        world.droplet.before_command = None
        asked.append(world.stop(instance.id))

    assert not patched(world, instance, PULLED).settled
    world.droplet.before_command = stop
    world.deliver()
    world.sweep()
    assert asked
    assert world.droplet.running() == []
    assert world.stored(instance).status is InstanceStatus.STOPPED


def test_another_spec_for_what_was_never_created_is_a_legal_move(world: World) -> None:
    wanted = new()
    instance = world.deploy(replace(wanted, spec=replace(wanted.spec, image=PULLED)))
    assert instance.status is InstanceStatus.DEPLOYING
    world.droplet.registry[PULLED] = None
    assert patched(world, instance, wanted.spec.image).status is InstanceStatus.RUNNING


def test_an_attempt_that_changes_nothing_leaves_the_event_of_the_first_one_alone(world: World) -> None:
    world.droplet.faults += [Fault(shim_errors.EngineUnavailable("no engine"), routes.CREATE) for _ in range(3)]
    instance = world.deploy()
    world.sweep(10)
    world.sweep(20)
    told = world.events(instance)
    assert ("status_changed", "pending_deploy", "deploying") in told
    assert ("status_changed", "deploying", "deploying") not in told


def test_a_stop_that_is_taken_up_before_anything_was_on_record_is_a_legal_move(world: World) -> None:
    running = world.deploy()
    taken_up = replace(request_state(running, DesiredState.STOPPED), status=InstanceStatus.PENDING_DEPLOY)
    check_move(taken_up.status, derive_status(taken_up))
    assert derive_status(taken_up) is InstanceStatus.STOPPING
