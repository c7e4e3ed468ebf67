"""Droplets that carry our tag and that no toolbox knows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.domain.errors import DigitalOceanUnknown, NotFound
from functions.lifecycle.toolbox import orphan_droplets
from functions.lifecycle.toolbox.change import rebuild
from tests.fakes.digitalocean import ApiFault
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import ADMIN, CALLER


@pytest.fixture
def world() -> FleetWorld:
    return FleetWorld()


def told(world: FleetWorld) -> list[str]:
    return [one["id"] for one in orphan_droplets.page(world.deps, ADMIN)]


def hours(world: FleetWorld, sweeps: int = 25) -> None:
    for _ in range(sweeps):
        world.sweep()


def test_one_of_a_toolbox_is_told_in_its_events_and_to_operators_once_and_never_destroyed(world: FleetWorld) -> None:
    toolbox = world.active()
    stray = world.digitalocean.add(f"toolbox-{toolbox.id}-9", ["toolboxes", f"toolbox-{toolbox.id}"])
    nobodys = world.digitalocean.add("by-hand", ["toolboxes"])
    others = world.digitalocean.add("unrelated", ["something"])
    hours(world)
    assert told(world) == sorted([stray.id, nobodys.id])
    assert [kind for kind, _, _ in world.toolbox_events(toolbox)].count("stray_droplet_found") == 1
    assert {stray.id, nobodys.id, others.id} < set(world.digitalocean.droplets)
    [known] = [one for one in orphan_droplets.page(world.deps, ADMIN) if one["id"] == stray.id]
    assert (known["toolbox_id"], known["name"]) == (toolbox.id, stray.name)


def test_one_that_was_just_made_may_be_known_soon(world: FleetWorld) -> None:
    world.digitalocean.add("by-hand", ["toolboxes"])
    world.pass_time(599)
    orphan_droplets.find_orphans(world.deps)
    assert told(world) == []
    world.pass_time(1)
    orphan_droplets.find_orphans(world.deps)
    assert len(told(world)) == 1


def test_one_that_is_gone_is_told_no_more(world: FleetWorld) -> None:
    nobodys = world.digitalocean.add("by-hand", ["toolboxes"])
    hours(world)
    assert told(world) == [nobodys.id]
    world.digitalocean.vanish(nobodys.id)
    hours(world)
    assert told(world) == []


def test_what_a_toolbox_knows_or_waits_for_is_none(world: FleetWorld) -> None:
    toolbox = world.active()
    world.digitalocean.goes_in = timedelta(minutes=40)
    world.asked(toolbox, rebuild)
    world.settle()
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("lost"), "create", after=True))
    world.provision()
    hours(world)
    assert told(world) == []


def test_a_second_droplet_of_one_call_is_a_stray(world: FleetWorld) -> None:
    """Made by the API itself, out of one request."""
    toolbox = world.active()
    twin = world.digitalocean.add(toolbox.droplet_name or "", ["toolboxes", f"toolbox-{toolbox.id}"])
    hours(world)
    assert told(world) == [twin.id]
    assert world.toolbox(toolbox).status == "active"


def test_it_costs_one_call_in_ten_minutes_however_many_toolboxes_there_are(world: FleetWorld) -> None:
    for _ in range(3):
        world.active()
    world.digitalocean.calls.clear()
    for _ in range(60):
        world.sweep()
    assert world.digitalocean.calls == ["tagged"] * 6


def test_an_api_that_does_not_answer_is_asked_the_next_time(world: FleetWorld) -> None:
    nobodys = world.digitalocean.add("by-hand", ["toolboxes"])
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("no answer"), "tagged"))
    hours(world)
    assert told(world) == [nobodys.id]


def test_only_an_operator_is_told(world: FleetWorld) -> None:
    with pytest.raises(NotFound):
        orphan_droplets.page(world.deps, CALLER)
