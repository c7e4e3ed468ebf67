"""Another droplet for the same toolbox, and the end of one with all that is on it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.domain.errors import DigitalOceanRefused, DigitalOceanUnknown, NotFound
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import InstanceRequest
from functions.lifecycle.repository import INSTANCES
from functions.lifecycle.toolbox.change import deprovision, rebuild
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.digitalocean import ApiFault
from tests.fakes.droplet import FakeDroplet, Fault
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import CALLER, new


@pytest.fixture
def world() -> FleetWorld:
    return FleetWorld()


def peopled(world: FleetWorld) -> tuple[Toolbox, list[Instance], FakeDroplet]:
    """A toolbox with three instances, one of them stopped."""
    toolbox = world.active()
    made = [world.deploy_on(toolbox, new(f"server-{number}", ports=(20_001 + number,))) for number in range(3)]
    change.stop(world.deps, InstanceRequest(CALLER, toolbox.id, made[2].id))
    world.sweep()
    [droplet] = world.fleet.booted.values()
    return world.toolbox(toolbox), [world.stored(one) for one in made], droplet


def test_a_rebuild_brings_every_instance_back_under_its_id_and_ports(world: FleetWorld) -> None:
    toolbox, made, old = peopled(world)
    world.asked(toolbox, rebuild)
    world.settle()
    rebuilt = world.toolbox(toolbox)
    assert (rebuilt.status, rebuilt.settled, rebuilt.retired) == ("active", True, [])
    assert rebuilt.droplet_id != toolbox.droplet_id
    assert [one.id for one in world.digitalocean.droplets.values()] == [rebuilt.droplet_id]
    fresh = world.fleet.booted[rebuilt.address or ""]
    assert sorted(fresh.running()) == sorted(one.container_name for one in made[:2])
    assert fresh.containers[made[2].container_name].state == "created"
    after = [world.stored(one) for one in made]
    assert [(one.id, one.spec.ports, one.status) for one in after] == [(o.id, o.spec.ports, o.status) for o in made]
    assert old.running() == []


def test_what_was_given_up_on_the_droplet_before_is_tried_on_the_next_one(world: FleetWorld) -> None:
    toolbox = world.active()
    [old] = world.fleet.booted.values()
    old.faults.append(Fault(shim_errors.PortTaken("port is already allocated"), routes.START))
    given_up = world.deploy_on(toolbox, new(ports=(20_001,)))
    assert world.stored(given_up).status == "error_install"
    world.asked(toolbox, rebuild)
    world.settle()
    assert world.stored(given_up).status == "running"
    [fresh] = [one for one in world.fleet.booted.values() if one is not old]
    assert fresh.running() == [given_up.container_name]


def test_nothing_runs_on_two_droplets_at_any_time_and_the_old_one_goes_last(world: FleetWorld) -> None:
    toolbox, _, old = peopled(world)
    seen: list[tuple[str, bool]] = []

    def watched(call: str) -> None:
        serving = [one for one in world.fleet.booted.values() if one is not old and one.running()]
        assert not (old.running() and serving)
        seen.append((call, world.toolbox(toolbox).served_at is not None))

    world.digitalocean.before_call = watched
    world.asked(toolbox, rebuild)
    world.settle()
    assert [call for call, _ in seen if call in ("create", "destroy")] == ["create", "destroy"]
    assert dict(seen)["destroy"], "the new one serves when the old one is destroyed"


def test_what_is_started_on_the_old_droplet_meanwhile_is_stopped_before_the_new_one_serves(world: FleetWorld) -> None:
    toolbox, made, old = peopled(world)
    world.asked(toolbox, rebuild)
    world.deliver()
    assert old.running() == []
    # A command that was on its way.
    old.command(routes.START, name=made[0].container_name, start_by=world.now())
    world.settle()
    assert old.running() == []


def test_an_old_droplet_that_is_dead_keeps_nobody_waiting(world: FleetWorld) -> None:
    toolbox, _, old = peopled(world)
    old.reachable = False
    world.sweep()
    assert world.toolbox(toolbox).status == "unresponsive"
    world.asked(toolbox, rebuild)
    world.settle(3)
    assert world.toolbox(toolbox).status == "active"
    fresh = world.fleet.booted[world.toolbox(toolbox).address or ""]
    assert len(fresh.running()) == 2


def test_an_old_droplet_that_was_destroyed_by_hand_is_no_obstacle(world: FleetWorld) -> None:
    toolbox, _, old = peopled(world)
    world.digitalocean.vanish(toolbox.droplet_id or "")
    old.reachable = False
    world.asked(toolbox, rebuild)
    world.settle()
    assert (world.toolbox(toolbox).status, world.toolbox(toolbox).settled) == ("active", True)


def test_a_rebuild_that_fails_keeps_the_old_droplet_and_the_next_one_ends_both(world: FleetWorld) -> None:
    toolbox, _, _ = peopled(world)
    world.digitalocean.faults.append(ApiFault(DigitalOceanRefused("no more droplets"), "create"))
    world.asked(toolbox, rebuild)
    world.settle(2)
    assert world.toolbox(toolbox).status == "error_provisioning"
    assert list(world.digitalocean.droplets) == [toolbox.droplet_id]
    world.asked(toolbox, rebuild)
    world.settle()
    rebuilt = world.toolbox(toolbox)
    assert (rebuilt.status, list(world.digitalocean.droplets)) == ("active", [rebuilt.droplet_id])
    assert len(world.fleet.booted[rebuilt.address or ""].running()) == 2


def test_the_end_of_a_toolbox_ends_its_instances_with_their_last_lines_and_frees_their_claims(
    world: FleetWorld,
) -> None:
    toolbox, made, _ = peopled(world)
    world.digitalocean.goes_in = timedelta(seconds=20)
    world.asked(toolbox, deprovision)
    assert world.toolbox(toolbox).status == "pending_deprovision"
    world.settle()
    gone = world.toolbox(toolbox)
    assert (gone.status, gone.settled, gone.due_at) == ("deprovisioned", True, None)
    assert (world.digitalocean.droplets, world.digitalocean.firewalls) == ({}, set())
    for one in made:
        assert world.stored(one).deleted_at
        [kept] = world.documents(f"{INSTANCES}/{one.id}/post_mortems")
        assert (kept["logs"], kept["missing"]) == (["2026-01-01T00:00:00.000000001Z stdout ready"], [])
        with pytest.raises(NotFound):
            instances.get(world.deps, CALLER, toolbox.id, one.id)
    assert world.documents("instance_names") == world.documents("port_claims") == []
    assert [after for kind, _, after in world.toolbox_events(toolbox) if kind == "status_changed"][-2:] == [
        "deprovisioning", "deprovisioned",
    ]  # fmt: skip


def test_the_end_waits_for_no_dead_shim_and_says_what_it_could_not_have(world: FleetWorld) -> None:
    toolbox, made, old = peopled(world)
    old.reachable = False
    began = world.now()
    world.asked(toolbox, deprovision)
    world.deliver()
    assert world.toolbox(toolbox).status == "deprovisioned"
    assert world.now() - began < timedelta(seconds=60)
    for one in made:
        [kept] = world.documents(f"{INSTANCES}/{one.id}/post_mortems")
        assert "cannot be reached" in str(kept["missing"])


def test_a_shim_that_lets_wait_once_is_not_asked_for_the_others(world: FleetWorld) -> None:
    toolbox, _, old = peopled(world)
    old.faults.append(Fault(shim_errors.OutcomeUnknown("no answer within 10 s"), routes.LOGS))
    old.calls.clear()
    world.asked(toolbox, deprovision)
    world.settle()
    assert [call.endswith("/logs") for call in old.calls].count(True) == 1
    assert world.toolbox(toolbox).status == "deprovisioned"


def test_it_is_deprovisioned_only_once_the_api_knows_the_droplet_no_more(world: FleetWorld) -> None:
    toolbox = world.active()
    world.digitalocean.goes_in = timedelta(minutes=10)
    world.asked(toolbox, deprovision)
    world.settle(5)
    assert world.toolbox(toolbox).status == "deprovisioning"
    world.settle(12)
    assert world.toolbox(toolbox).status == "deprovisioned"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["destroy", "get", "remove_firewall", None])
def test_an_end_with_a_failing_api_comes_in_the_end(world: FleetWorld, call: str | None, after: bool) -> None:
    toolbox = world.active()
    fault = DigitalOceanUnknown("no answer")
    world.digitalocean.faults += [ApiFault(fault, call, after and call != "get") for _ in range(2)]
    world.asked(toolbox, deprovision)
    world.settle()
    assert world.toolbox(toolbox).status == "deprovisioned"
    assert (world.digitalocean.droplets, world.digitalocean.firewalls) == ({}, set())


def test_an_end_that_the_api_refuses_is_shown_as_an_error_and_tried_again(world: FleetWorld) -> None:
    toolbox = world.active()
    world.digitalocean.faults.append(ApiFault(DigitalOceanRefused("it is locked"), "destroy"))
    world.asked(toolbox, deprovision)
    world.deliver()
    assert (world.toolbox(toolbox).status, world.toolbox(toolbox).error) == ("error_deprovisioning", "it is locked")
    world.settle()
    assert world.toolbox(toolbox).status == "deprovisioned"


def test_only_its_own_droplets_are_destroyed(world: FleetWorld) -> None:
    toolbox, other = world.active(), world.active()
    stray = world.digitalocean.add("toolbox-by-hand", ["toolboxes", f"toolbox-{toolbox.id}"])
    world.asked(toolbox, deprovision)
    world.settle()
    assert set(world.digitalocean.droplets) == {world.toolbox(other).droplet_id, stray.id}


def test_an_instance_deployed_in_the_last_moment_ends_too(world: FleetWorld) -> None:
    toolbox = world.active()
    world.asked(toolbox, deprovision)
    world.settle()
    late = world.deploy_late(toolbox)
    world.sweep()
    assert world.stored(late).deleted_at
    assert world.store.query(Query("port_claims")) == []
