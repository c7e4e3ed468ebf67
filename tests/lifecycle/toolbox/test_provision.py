"""From a request to a droplet that serves: one in the end, whatever happens to the call that makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.account.limits import Limits
from functions.domain.errors import (
    Conflict,
    DigitalOceanBusy,
    DigitalOceanRefused,
    DigitalOceanUnknown,
    NotAllowedNow,
    QuotaExceeded,
)
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.idempotency import Replay
from functions.lifecycle.toolbox.change import ToolboxRequest, deprovision, provision, rebuild
from functions.lifecycle.toolbox.read import refresh
from tests.fakes.digitalocean import ApiFault
from tests.fakes.fleet import NEW, FleetWorld
from tests.fakes.world import ACCOUNT, CALLER

UNKNOWN = DigitalOceanUnknown("no answer within 15 s")


@pytest.fixture
def world() -> FleetWorld:
    return FleetWorld()


def test_a_toolbox_is_on_record_at_once_and_serves_when_its_shim_has_enrolled(world: FleetWorld) -> None:
    toolbox = world.provision()
    assert (toolbox.status, world.digitalocean.calls) == ("pending_provision", [])
    world.deliver()
    assert world.toolbox(toolbox).status == "provisioning"
    world.boot()
    world.deliver()
    served = world.toolbox(toolbox)
    assert (served.status, served.settled, served.due_at) == ("active", True, None)
    assert (served.address, served.droplet_state, served.shim_version) == ("192.0.2.1", "active", "1.0.0")
    assert sorted(kind for kind, _, _ in world.toolbox_events(toolbox)) == [
        "droplet_created", "enrolled", "provision_requested", "status_changed", "status_changed",
    ]  # fmt: skip


def test_its_droplet_is_asked_for_by_tags_and_name_of_its_own_behind_a_firewall(world: FleetWorld) -> None:
    toolbox = world.active()
    [new] = world.digitalocean.asked.values()
    assert new.tags == ["toolboxes", f"toolbox-{toolbox.id}"]
    assert (new.region, new.size, new.image) == ("fra1", "s-1vcpu-1gb", "debian-12-x64")
    assert new.name == f"toolbox-{toolbox.id}-1"
    assert world.digitalocean.firewalls == {f"toolbox-{toolbox.id}"}
    assert world.digitalocean.calls[:2] == ["open_firewall", "create"]


def test_the_token_is_nowhere_but_in_the_droplet(world: FleetWorld) -> None:
    world.provision()
    world.deliver()
    [new] = world.digitalocean.asked.values()
    assert len(new.token) >= 64
    assert new.token not in str(world.documents("account_tool_environments"))


@pytest.mark.parametrize(
    "faults",
    [
        [ApiFault(UNKNOWN, "create")],
        [ApiFault(UNKNOWN, "create", after=True)],
        [ApiFault(UNKNOWN, "create", after=True), ApiFault(UNKNOWN, "named"), ApiFault(UNKNOWN, "tagged")],
        [ApiFault(DigitalOceanBusy("too many requests", 120), "create")],
        [ApiFault(DigitalOceanBusy("too many requests", 5), "create"), ApiFault(UNKNOWN, "create", after=True)],
        [ApiFault(UNKNOWN, "open_firewall", after=True), ApiFault(UNKNOWN, "get")],
        [ApiFault(UNKNOWN, None) for _ in range(6)],
    ],
    ids=[
        "lost",
        "answer lost",
        "lists fail too",
        "429",
        "429, then answer lost",
        "others fail",
        "all fail for a while",
    ],
)
@pytest.mark.parametrize("late", [0, 30, 60], ids=lambda seconds: f"{seconds} s late")
def test_one_droplet_in_the_end(world: FleetWorld, faults: list[ApiFault], late: int) -> None:
    world.digitalocean.faults.extend(replace(fault) for fault in faults)
    world.digitalocean.tags_late = world.digitalocean.lists_late = timedelta(seconds=late)
    toolbox = world.provision()
    world.settle(12)
    assert world.toolbox(toolbox).status == "active"
    assert [one.id for one in world.digitalocean.droplets.values()] == [world.toolbox(toolbox).droplet_id]


def test_after_a_429_the_api_is_left_in_peace_for_as_long_as_it_said(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanBusy("too many requests", 300), "create"))
    toolbox = world.provision()
    world.deliver()
    assert world.toolbox(toolbox).error == "too many requests"
    world.sweep(120)
    assert world.digitalocean.calls.count("create") == 1
    world.sweep(200)
    assert world.digitalocean.calls.count("create") == 2


def test_what_the_api_refuses_is_given_up_and_said(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanRefused("that size is not in that region"), "create"))
    toolbox = world.provision()
    world.settle(2)
    failed = world.toolbox(toolbox)
    assert (failed.status, failed.error) == ("error_provisioning", "that size is not in that region")
    assert (failed.settled, world.digitalocean.droplets) == (True, {})
    world.asked(failed, rebuild)
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert len(world.digitalocean.droplets) == 1


def test_a_droplet_that_never_enrols_is_given_up_after_an_hour(world: FleetWorld) -> None:
    toolbox = world.provision()
    for _ in range(62):
        world.sweep()
    failed = world.toolbox(toolbox)
    assert (failed.status, failed.error) == ("error_provisioning", "the droplet did not enrol within 60 minutes")
    assert len(world.digitalocean.droplets) == 1


def test_a_droplet_destroyed_by_hand_before_it_served_is_missed(world: FleetWorld) -> None:
    toolbox = world.provision()
    world.deliver()
    [key] = world.digitalocean.droplets
    world.digitalocean.vanish(key)
    world.settle()
    assert world.toolbox(toolbox).error == "the droplet was destroyed by another"


def test_two_workers_make_one_droplet(world: FleetWorld) -> None:
    """The second is handed the task in the middle of the first one's create call."""
    toolbox = world.provision()
    world.digitalocean.before_call = lambda call: world.deliver() if call == "create" else None
    world.queue.tasks *= 2
    world.deliver()
    world.digitalocean.before_call = None
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert len(world.digitalocean.droplets) == 1


def key(fingerprint: str = "f") -> Replay[Toolbox]:
    return Replay(ACCOUNT, "key-1", fingerprint, lambda toolbox: (201, {"id": toolbox.id, "status": toolbox.status}))


def test_a_repeat_is_answered_with_the_first_answer_and_makes_no_second_toolbox(world: FleetWorld) -> None:
    first = provision(world.deps, CALLER, NEW, key())
    assert isinstance(first, Toolbox)
    world.settle()
    again = provision(world.deps, CALLER, NEW, key())
    assert again == (201, {"id": first.id, "status": "pending_provision"})
    assert len(world.documents("account_tool_environments")) == 1


@pytest.mark.parametrize("verb", [rebuild, deprovision])
def test_a_repeat_of_a_change_is_no_second_change(world: FleetWorld, verb: Callable[..., object]) -> None:
    toolbox = world.active()
    asked = ToolboxRequest(CALLER, toolbox.id, key())
    for _ in range(2):
        answer = verb(world.deps, asked)
        assert isinstance(answer, Toolbox)
        assert answer.generation == 2
        world.settle()


def test_an_account_has_no_more_toolboxes_than_its_quota(world: FleetWorld) -> None:
    world.deps = replace(world.deps, limits=Limits(toolboxes=1))
    toolbox = world.active()
    with pytest.raises(QuotaExceeded):
        world.provision()
    world.asked(toolbox, deprovision)
    world.settle()
    world.provision()


def test_a_toolbox_that_is_being_made_is_not_rebuilt(world: FleetWorld) -> None:
    toolbox = world.provision()
    with pytest.raises(NotAllowedNow):
        world.asked(toolbox, rebuild)


def test_a_change_of_mind_in_the_middle_of_a_create_leaves_no_droplet(world: FleetWorld) -> None:
    toolbox = world.provision()
    world.digitalocean.before_call = lambda call: world.asked(toolbox, deprovision) if call == "create" else None
    world.deliver()
    world.digitalocean.before_call = None
    world.settle()
    assert world.toolbox(toolbox).status == "deprovisioned"
    assert (world.digitalocean.droplets, world.digitalocean.firewalls) == ({}, set())


def test_a_commit_that_others_refuse_is_made_good(world: FleetWorld) -> None:
    refusals = [Conflict("others"), Conflict("others")]

    def refuse(writes: object) -> None:
        if refusals:
            raise refusals.pop()

    world.store.before_commit = refuse
    toolbox = world.provision()
    world.settle()
    assert world.toolbox(toolbox).status == "active"


def test_what_is_deployed_before_there_is_a_droplet_runs_as_soon_as_there_is_one(world: FleetWorld) -> None:
    toolbox = world.provision()
    instance = world.deploy_on(toolbox)
    assert world.stored(instance).status == "deploying"
    world.deliver()
    world.boot()
    world.deliver()
    world.deliver()
    assert world.stored(instance).status == "running"


def test_a_refresh_that_finds_a_toolbox_silent_or_back_is_an_event_too(world: FleetWorld) -> None:
    toolbox = world.active()
    [droplet] = world.fleet.booted.values()
    for reachable in (False, True):
        droplet.reachable = reachable
        world.pass_time(1)
        refresh(world.deps, CALLER, toolbox.id)
    moves = [(before, after) for kind, before, after in world.toolbox_events(toolbox) if kind == "status_changed"]
    assert moves[-2:] == [("active", "unresponsive"), ("unresponsive", "active")]


def test_a_worker_that_was_held_up_before_its_create_call_does_not_send_it(world: FleetWorld) -> None:
    toolbox = world.provision()

    def held_up(writes: object) -> None:
        if world.toolbox(toolbox).attempt:
            world.store.after_commit = lambda writes: None
            world.pass_time(25)

    world.store.after_commit = held_up
    world.deliver()
    assert "create" not in world.digitalocean.calls
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert len(world.digitalocean.droplets) == 1
