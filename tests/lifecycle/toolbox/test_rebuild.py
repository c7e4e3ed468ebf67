"""Rebuild: another droplet replaces the old one, with the same instances."""

from __future__ import annotations

from functions.domain.errors import DigitalOceanRefused
from functions.lifecycle.toolbox.change import rebuild
from shim.contract import errors as shim_errors
from shim.contract import routes
from tests.fakes.digitalocean import ApiFault
from tests.fakes.droplet import Fault
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import new
from tests.lifecycle.toolbox.populated import populated_toolbox


def test_rebuild_restores_every_instance_with_its_id_and_ports(world: FleetWorld) -> None:
    toolbox, instances, old_droplet = populated_toolbox(world)
    world.request(toolbox, rebuild)
    world.settle()
    rebuilt = world.toolbox(toolbox)
    assert (rebuilt.status, rebuilt.settled, rebuilt.retired) == ("active", True, [])
    assert rebuilt.droplet_id != toolbox.droplet_id
    assert [droplet.id for droplet in world.digitalocean.droplets.values()] == [rebuilt.droplet_id]
    new_droplet = world.fleet.booted[rebuilt.address or ""]
    assert sorted(new_droplet.running()) == sorted(instance.container_name for instance in instances[:2])
    assert new_droplet.containers[instances[2].container_name].state == "created"
    for before in instances:
        after = world.stored(before)
        assert (after.id, after.spec.ports, after.status) == (before.id, before.spec.ports, before.status)
    assert old_droplet.running() == []


def test_rebuild_retries_an_instance_that_failed_on_the_old_droplet(world: FleetWorld) -> None:
    toolbox = world.active()
    [old_droplet] = world.fleet.booted.values()
    old_droplet.faults.append(Fault(shim_errors.PortTaken("port is already allocated"), routes.START))
    failed = world.deploy_on(toolbox, new(ports=(20_001,)))
    assert world.stored(failed).status == "error_install"
    world.request(toolbox, rebuild)
    world.settle()
    assert world.stored(failed).status == "running"
    [new_droplet] = [each for each in world.fleet.booted.values() if each is not old_droplet]
    assert new_droplet.running() == [failed.container_name]


def test_rebuild_never_runs_on_two_droplets_and_destroys_the_old_one_last(world: FleetWorld) -> None:
    toolbox, _, old_droplet = populated_toolbox(world)
    calls: list[tuple[str, bool]] = []

    def record(call: str) -> None:
        serving = [each for each in world.fleet.booted.values() if each is not old_droplet and each.running()]
        assert not (old_droplet.running() and serving)
        calls.append((call, world.toolbox(toolbox).served_at is not None))

    world.digitalocean.before_call = record
    world.request(toolbox, rebuild)
    world.settle()
    assert [call for call, _ in calls if call in ("create", "destroy")] == ["create", "destroy"]
    assert dict(calls)["destroy"], "the old droplet was destroyed before the new one served"


def test_container_started_late_on_the_old_droplet_is_stopped(world: FleetWorld) -> None:
    toolbox, instances, old_droplet = populated_toolbox(world)
    world.request(toolbox, rebuild)
    world.deliver()
    assert old_droplet.running() == []
    # A command that was sent before the rebuild arrives now.
    old_droplet.command(routes.START, name=instances[0].container_name, start_by=world.now())
    world.settle()
    assert old_droplet.running() == []


def test_rebuild_does_not_wait_for_an_unreachable_old_droplet(world: FleetWorld) -> None:
    toolbox, _, old_droplet = populated_toolbox(world)
    old_droplet.reachable = False
    world.sweep()
    assert world.toolbox(toolbox).status == "unresponsive"
    world.request(toolbox, rebuild)
    world.settle(3)
    assert world.toolbox(toolbox).status == "active"
    new_droplet = world.fleet.booted[world.toolbox(toolbox).address or ""]
    assert len(new_droplet.running()) == 2


def test_rebuild_succeeds_after_the_old_droplet_was_destroyed_by_hand(world: FleetWorld) -> None:
    toolbox, _, old_droplet = populated_toolbox(world)
    world.digitalocean.vanish(toolbox.droplet_id or "")
    old_droplet.reachable = False
    world.request(toolbox, rebuild)
    world.settle()
    assert (world.toolbox(toolbox).status, world.toolbox(toolbox).settled) == ("active", True)


def test_failed_rebuild_keeps_the_old_droplet_until_the_next_rebuild(world: FleetWorld) -> None:
    toolbox, _, _ = populated_toolbox(world)
    world.digitalocean.faults.append(ApiFault(DigitalOceanRefused("no more droplets"), "create"))
    world.request(toolbox, rebuild)
    world.settle(2)
    assert world.toolbox(toolbox).status == "error_provisioning"
    assert list(world.digitalocean.droplets) == [toolbox.droplet_id]
    world.request(toolbox, rebuild)
    world.settle()
    rebuilt = world.toolbox(toolbox)
    assert (rebuilt.status, list(world.digitalocean.droplets)) == ("active", [rebuilt.droplet_id])
    assert len(world.fleet.booted[rebuilt.address or ""].running()) == 2
