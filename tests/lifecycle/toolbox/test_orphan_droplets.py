"""Orphan droplets: they carry our tag and belong to no toolbox's document; they are reported, never destroyed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.domain.errors import DigitalOceanUnknown, NotFound
from functions.lifecycle.toolbox import orphan_droplets
from functions.lifecycle.toolbox.change import rebuild
from tests.fakes.digitalocean import ApiFault
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import ADMIN, CALLER


def reported_ids(world: FleetWorld) -> list[str]:
    return [orphan["id"] for orphan in orphan_droplets.page(world.deps, ADMIN)]


def sweep_25_times(world: FleetWorld) -> None:
    for _ in range(25):
        world.sweep()


def test_orphan_is_reported_in_events_and_to_operators_and_never_destroyed(world: FleetWorld) -> None:
    toolbox = world.active()
    orphan = world.digitalocean.add(f"toolbox-{toolbox.id}-9", ["toolboxes", f"toolbox-{toolbox.id}"])
    untagged = world.digitalocean.add("by-hand", ["toolboxes"])
    unrelated = world.digitalocean.add("unrelated", ["something"])
    sweep_25_times(world)
    assert reported_ids(world) == sorted([orphan.id, untagged.id])
    assert [event_type for event_type, _, _ in world.toolbox_events(toolbox)].count("orphan_droplet_found") == 1
    assert {orphan.id, untagged.id, unrelated.id} < set(world.digitalocean.droplets)
    [record] = [each for each in orphan_droplets.page(world.deps, ADMIN) if each["id"] == orphan.id]
    assert (record["toolbox_id"], record["name"]) == (toolbox.id, orphan.name)


def test_new_droplet_is_not_reported_for_ten_minutes(world: FleetWorld) -> None:
    world.digitalocean.add("by-hand", ["toolboxes"])
    world.pass_time(599)
    orphan_droplets.find_orphans(world.deps)
    assert reported_ids(world) == []
    world.pass_time(1)
    orphan_droplets.find_orphans(world.deps)
    assert len(reported_ids(world)) == 1


def test_orphan_that_was_destroyed_is_no_longer_reported(world: FleetWorld) -> None:
    untagged = world.digitalocean.add("by-hand", ["toolboxes"])
    sweep_25_times(world)
    assert reported_ids(world) == [untagged.id]
    world.digitalocean.vanish(untagged.id)
    sweep_25_times(world)
    assert reported_ids(world) == []


def test_droplet_that_a_toolbox_replaces_or_awaits_is_not_an_orphan(world: FleetWorld) -> None:
    toolbox = world.active()
    world.digitalocean.destroy_takes = timedelta(minutes=40)
    world.request(toolbox, rebuild)
    world.settle()
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("lost"), "create", after=True))
    world.provision()
    sweep_25_times(world)
    assert reported_ids(world) == []


def test_second_droplet_of_one_create_call_is_an_orphan(world: FleetWorld) -> None:
    """DigitalOcean created two droplets for one request."""
    toolbox = world.active()
    twin = world.digitalocean.add(toolbox.droplet_name or "", ["toolboxes", f"toolbox-{toolbox.id}"])
    sweep_25_times(world)
    assert reported_ids(world) == [twin.id]
    assert world.toolbox(toolbox).status == "active"


def test_search_costs_one_api_call_in_ten_minutes_for_all_toolboxes(world: FleetWorld) -> None:
    for _ in range(3):
        world.active()
    world.digitalocean.calls.clear()
    for _ in range(60):
        world.sweep()
    assert world.digitalocean.calls == ["list_by_tag"] * 6


def test_failed_search_is_repeated_the_next_time(world: FleetWorld) -> None:
    untagged = world.digitalocean.add("by-hand", ["toolboxes"])
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("no answer"), "list_by_tag"))
    sweep_25_times(world)
    assert reported_ids(world) == [untagged.id]


def test_orphans_are_shown_to_operators_only(world: FleetWorld) -> None:
    with pytest.raises(NotFound):
        orphan_droplets.page(world.deps, CALLER)
