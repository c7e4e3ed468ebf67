"""Deprovisioning: the teardown of a toolbox's instances, its droplets and its firewall."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.domain.errors import DigitalOceanRefused, DigitalOceanUnknown, NotFound
from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import read as instances
from functions.lifecycle.repository import INSTANCES
from functions.lifecycle.toolbox.change import deprovision
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.digitalocean import ApiFault
from tests.fakes.droplet import Fault
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import CALLER
from tests.lifecycle.toolbox.populated import populated_toolbox


def test_deprovision_deletes_instances_with_post_mortems_and_reservations(world: FleetWorld) -> None:
    toolbox, deployed, _ = populated_toolbox(world)
    world.digitalocean.destroy_takes = timedelta(seconds=20)
    world.request(toolbox, deprovision)
    assert world.toolbox(toolbox).status == "pending_deprovision"
    world.settle()
    deprovisioned = world.toolbox(toolbox)
    assert (deprovisioned.status, deprovisioned.settled, deprovisioned.due_at) == ("deprovisioned", True, None)
    assert (world.digitalocean.droplets, world.digitalocean.firewalls) == ({}, set())
    for instance in deployed:
        assert world.stored(instance).deleted_at
        [post_mortem] = world.documents(f"{INSTANCES}/{instance.id}/post_mortems")
        assert (post_mortem["logs"], post_mortem["missing"]) == (["2026-01-01T00:00:00.000000001Z stdout ready"], [])
        with pytest.raises(NotFound):
            instances.get(world.deps, CALLER, toolbox.id, instance.id)
    assert world.documents("instance_names") == world.documents("port_claims") == []
    assert [after for event_type, _, after in world.toolbox_events(toolbox) if event_type == "status_changed"][-2:] == [
        "deprovisioning",
        "deprovisioned",
    ]


def test_deprovision_does_not_wait_for_an_unreachable_shim(world: FleetWorld) -> None:
    toolbox, deployed, old_droplet = populated_toolbox(world)
    old_droplet.reachable = False
    started_at = world.now()
    world.request(toolbox, deprovision)
    world.deliver()
    assert world.toolbox(toolbox).status == "deprovisioned"
    assert world.now() - started_at < timedelta(seconds=60)
    for instance in deployed:
        [post_mortem] = world.documents(f"{INSTANCES}/{instance.id}/post_mortems")
        assert "cannot be reached" in str(post_mortem["missing"])


def test_teardown_skips_further_post_mortems_after_one_timed_out(world: FleetWorld) -> None:
    toolbox, _, old_droplet = populated_toolbox(world)
    old_droplet.faults.append(Fault(shim_errors.OutcomeUnknown("no answer within 10 s"), routes.LOGS))
    old_droplet.calls.clear()
    world.request(toolbox, deprovision)
    world.settle()
    assert [call.endswith("/logs") for call in old_droplet.calls].count(True) == 1
    assert world.toolbox(toolbox).status == "deprovisioned"


def test_toolbox_is_deprovisioned_only_once_its_droplet_is_gone(world: FleetWorld) -> None:
    toolbox = world.active()
    world.digitalocean.destroy_takes = timedelta(minutes=10)
    world.request(toolbox, deprovision)
    world.settle(5)
    assert world.toolbox(toolbox).status == "deprovisioning"
    world.settle(12)
    assert world.toolbox(toolbox).status == "deprovisioned"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["destroy", "get", "remove_firewall", None])
def test_deprovision_completes_despite_failing_api_calls(world: FleetWorld, call: str | None, after: bool) -> None:
    toolbox = world.active()
    fault = DigitalOceanUnknown("no answer")
    world.digitalocean.faults += [ApiFault(fault, call, after and call != "get") for _ in range(2)]
    world.request(toolbox, deprovision)
    world.settle()
    assert world.toolbox(toolbox).status == "deprovisioned"
    assert (world.digitalocean.droplets, world.digitalocean.firewalls) == ({}, set())


def test_deprovision_that_the_api_refuses_shows_an_error_and_is_retried(world: FleetWorld) -> None:
    toolbox = world.active()
    world.digitalocean.faults.append(ApiFault(DigitalOceanRefused("it is locked"), "destroy"))
    world.request(toolbox, deprovision)
    world.deliver()
    assert (world.toolbox(toolbox).status, world.toolbox(toolbox).error) == ("error_deprovisioning", "it is locked")
    world.settle()
    assert world.toolbox(toolbox).status == "deprovisioned"


def test_deprovision_destroys_only_the_toolboxs_own_droplet(world: FleetWorld) -> None:
    toolbox, other = world.active(), world.active()
    orphan = world.digitalocean.add("toolbox-by-hand", ["toolboxes", f"toolbox-{toolbox.id}"])
    world.request(toolbox, deprovision)
    world.settle()
    assert set(world.digitalocean.droplets) == {world.toolbox(other).droplet_id, orphan.id}


def test_instance_deployed_during_the_teardown_is_deleted(world: FleetWorld) -> None:
    toolbox = world.active()
    world.request(toolbox, deprovision)
    world.settle()
    late = world.deploy_late(toolbox)
    world.sweep()
    assert world.stored(late).deleted_at
    assert world.store.query(Query("port_claims")) == []
