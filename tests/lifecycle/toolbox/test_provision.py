"""Provisioning ends with exactly one active droplet, whatever happens to the create call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.account.model import Limits
from functions.domain.errors import (
    Conflict,
    DigitalOceanBusy,
    DigitalOceanRefused,
    DigitalOceanUnknown,
    NotAllowedNow,
    QuotaExceeded,
)
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.idempotency import CommitHook, KeyedRequest, RequestKey, StoredAnswer, run_once
from functions.lifecycle.toolbox.change import ToolboxRequest, deprovision, provision, rebuild, resume
from functions.lifecycle.toolbox.read import refresh
from tests.fakes.digitalocean import ApiFault
from tests.fakes.fleet import NEW, FleetWorld
from tests.fakes.world import ACCOUNT, CALLER

UNKNOWN = DigitalOceanUnknown("no answer within 15 s")


def test_toolbox_is_stored_at_once_and_active_after_the_enrolment(world: FleetWorld) -> None:
    toolbox = world.provision()
    assert (toolbox.status, world.digitalocean.calls) == ("pending_provision", [])
    world.deliver()
    assert world.toolbox(toolbox).status == "provisioning"
    world.boot()
    world.deliver()
    active = world.toolbox(toolbox)
    assert (active.status, active.settled, active.due_at) == ("active", True, None)
    assert (active.address, active.droplet_state, active.shim_version) == ("192.0.2.1", "active", "1.0.0")
    assert sorted(str(event_type) for event_type, _, _ in world.toolbox_events(toolbox)) == [
        "droplet_created",
        "enrolled",
        "provision_requested",
        "status_changed",
        "status_changed",
    ]


def test_droplet_is_created_with_its_own_name_tags_and_firewall(world: FleetWorld) -> None:
    toolbox = world.active()
    [new] = world.digitalocean.create_requests.values()
    assert new.tags == ["toolboxes", f"toolbox-{toolbox.id}"]
    assert (new.region, new.size, new.image) == ("fra1", "s-1vcpu-1gb", "debian-12-x64")
    assert new.name == f"toolbox-{toolbox.id}-1"
    assert world.digitalocean.firewalls == {f"toolbox-{toolbox.id}"}
    assert world.digitalocean.calls[:2] == ["open_firewall", "create"]


def test_enrolment_token_is_not_stored(world: FleetWorld) -> None:
    world.provision()
    world.deliver()
    [new] = world.digitalocean.create_requests.values()
    assert len(new.token) >= 64
    assert new.token not in str(world.documents("account_tool_environments"))


@pytest.mark.parametrize(
    "faults",
    [
        [ApiFault(UNKNOWN, "create")],
        [ApiFault(UNKNOWN, "create", after=True)],
        [ApiFault(UNKNOWN, "create", after=True), ApiFault(UNKNOWN, "list_by_name"), ApiFault(UNKNOWN, "list_by_tag")],
        [ApiFault(DigitalOceanBusy("too many requests", 120), "create")],
        [ApiFault(DigitalOceanBusy("too many requests", 5), "create"), ApiFault(UNKNOWN, "create", after=True)],
        [ApiFault(UNKNOWN, "open_firewall", after=True), ApiFault(UNKNOWN, "get")],
        [ApiFault(UNKNOWN, None) for _ in range(6)],
    ],
    ids=[
        "request lost",
        "answer lost",
        "lists fail too",
        "429",
        "429, then answer lost",
        "other calls fail",
        "all calls fail for a while",
    ],
)
@pytest.mark.parametrize("late", [0, 30, 60], ids=lambda seconds: f"{seconds} s late")
def test_lost_and_failed_api_calls_end_with_one_droplet(world: FleetWorld, faults: list[ApiFault], late: int) -> None:
    world.digitalocean.faults.extend(replace(fault) for fault in faults)
    world.digitalocean.tags_late = world.digitalocean.lists_late = timedelta(seconds=late)
    toolbox = world.provision()
    world.settle(12)
    assert world.toolbox(toolbox).status == "active"
    assert [droplet.id for droplet in world.digitalocean.droplets.values()] == [world.toolbox(toolbox).droplet_id]


def test_create_is_not_retried_before_retry_after_has_passed(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanBusy("too many requests", 300), "create"))
    toolbox = world.provision()
    world.deliver()
    assert world.toolbox(toolbox).error == "too many requests"
    world.sweep(120)
    assert world.digitalocean.calls.count("create") == 1
    world.sweep(200)
    assert world.digitalocean.calls.count("create") == 2


def test_create_that_the_api_refuses_fails_with_its_reason(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanRefused("that size is not in that region"), "create"))
    toolbox = world.provision()
    world.settle(2)
    failed = world.toolbox(toolbox)
    assert (failed.status, failed.error) == ("error_provisioning", "that size is not in that region")
    assert (failed.settled, world.digitalocean.droplets) == (True, {})
    world.request(failed, rebuild)
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert len(world.digitalocean.droplets) == 1


def test_droplet_that_does_not_enrol_fails_after_an_hour(world: FleetWorld) -> None:
    toolbox = world.provision()
    for _ in range(62):
        world.sweep()
    failed = world.toolbox(toolbox)
    assert (failed.status, failed.error) == (
        "error_provisioning",
        "The droplet's shim did not enrol within 60 minutes. Rebuild the toolbox.",
    )
    assert len(world.digitalocean.droplets) == 1


def test_droplet_destroyed_before_its_enrolment_is_reported(world: FleetWorld) -> None:
    toolbox = world.provision()
    world.deliver()
    [key] = world.digitalocean.droplets
    world.digitalocean.vanish(key)
    world.settle()
    assert world.toolbox(toolbox).error == "The droplet was destroyed outside of Toolboxes. Rebuild the toolbox."


def test_two_workers_create_one_droplet(world: FleetWorld) -> None:
    """The second worker gets the task during the first worker's create call."""
    toolbox = world.provision()
    world.digitalocean.before_call = lambda call: world.deliver() if call == "create" else None
    world.queue.tasks *= 2
    world.deliver()
    world.digitalocean.before_call = None
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert len(world.digitalocean.droplets) == 1


def once(world: FleetWorld, first: Callable[[CommitHook], Toolbox]) -> Toolbox | StoredAnswer:
    """The request `first` under one key, as the web runs it."""

    def render(toolbox: Toolbox) -> StoredAnswer:
        return StoredAnswer(201, {"id": toolbox.id, "status": toolbox.status})

    keyed = KeyedRequest(world.deps, RequestKey(ACCOUNT, "key-1", "f"), render)
    return run_once(keyed, first, lambda about, _: resume(world.deps, about))


def test_repeated_provision_gets_the_first_answer(world: FleetWorld) -> None:
    first = once(world, lambda commit: provision(world.deps, CALLER, NEW, commit))
    assert isinstance(first, Toolbox)
    world.settle()
    again = once(world, lambda commit: provision(world.deps, CALLER, NEW, commit))
    assert again == (201, {"id": first.id, "status": "pending_provision"})
    assert len(world.documents("account_tool_environments")) == 1


@pytest.mark.parametrize("operation", [rebuild, deprovision])
def test_repeated_rebuild_or_deprovision_changes_nothing(world: FleetWorld, operation: Callable[..., Toolbox]) -> None:
    toolbox = world.active()
    for _ in range(2):
        answer = once(world, lambda commit: operation(world.deps, ToolboxRequest(CALLER, toolbox.id, commit)))
        assert isinstance(answer, Toolbox)
        assert answer.generation == 2
        world.settle()


def test_provision_beyond_the_quota_is_refused(world: FleetWorld) -> None:
    world.deps = replace(world.deps, limits=Limits(toolboxes=1))
    toolbox = world.active()
    with pytest.raises(QuotaExceeded):
        world.provision()
    world.request(toolbox, deprovision)
    world.settle()
    world.provision()


def test_rebuild_during_provisioning_is_refused(world: FleetWorld) -> None:
    toolbox = world.provision()
    with pytest.raises(NotAllowedNow):
        world.request(toolbox, rebuild)


def test_deprovision_during_the_create_call_leaves_no_droplet(world: FleetWorld) -> None:
    toolbox = world.provision()

    def deprovision_at_create(call: str) -> None:
        if call == "create":
            world.request(toolbox, deprovision)

    world.digitalocean.before_call = deprovision_at_create
    world.deliver()
    world.digitalocean.before_call = None
    world.settle()
    assert world.toolbox(toolbox).status == "deprovisioned"
    assert (world.digitalocean.droplets, world.digitalocean.firewalls) == ({}, set())


def test_provision_retries_commits_that_conflict(world: FleetWorld) -> None:
    refusals = [Conflict("another worker was faster") for _ in range(2)]

    def refuse(writes: object) -> None:
        if refusals:
            raise refusals.pop()

    world.store.before_commit = refuse
    toolbox = world.provision()
    world.settle()
    assert world.toolbox(toolbox).status == "active"


def test_instance_deployed_before_the_droplet_exists_runs_once_it_is_active(world: FleetWorld) -> None:
    toolbox = world.provision()
    instance = world.deploy_on(toolbox)
    assert world.stored(instance).status == "deploying"
    world.deliver()
    world.boot()
    world.deliver()
    world.deliver()
    assert world.stored(instance).status == "running"


def test_refresh_records_lost_and_regained_contact_as_events(world: FleetWorld) -> None:
    toolbox = world.active()
    [droplet] = world.fleet.booted.values()
    for reachable in (False, True):
        droplet.reachable = reachable
        world.pass_time(1)
        refresh(world.deps, CALLER, toolbox.id)
    changes = [event for event in world.toolbox_events(toolbox) if event[0] == "status_changed"]
    assert changes[-2:] == [
        ("status_changed", "active", "unresponsive"),
        ("status_changed", "unresponsive", "active"),
    ]


def test_create_call_is_not_sent_after_its_lease_has_run_out(world: FleetWorld) -> None:
    toolbox = world.provision()

    def delay_worker(writes: object) -> None:
        if world.toolbox(toolbox).attempt:
            world.store.after_commit = lambda writes: None
            world.pass_time(25)

    world.store.after_commit = delay_worker
    world.deliver()
    assert "create" not in world.digitalocean.calls
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert len(world.digitalocean.droplets) == 1
