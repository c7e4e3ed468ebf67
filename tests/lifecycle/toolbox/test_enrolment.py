"""Enrolment accepts only the shim on the toolbox's own droplet; a hint is accepted only from an enrolled shim."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.account.model import Rate
from functions.domain.errors import (
    Conflict,
    DigitalOceanUnknown,
    EnrolmentRefused,
    ToolboxUnreachable,
    TooManyRequests,
    Unauthorized,
)
from functions.domain.toolbox.droplet import TOKEN_LIFE
from functions.domain.toolbox.enrolment import EnrolmentRequest
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account.admission import Rates
from functions.lifecycle.dependencies import Task
from functions.lifecycle.toolbox.change import deprovision, rebuild
from functions.lifecycle.toolbox.enrolment import enrol, notify
from tests.fakes.digitalocean import ApiFault
from tests.fakes.fleet import FleetWorld, fingerprint

OTHER = "a different certificate"


def toolbox_awaiting_enrolment(world: FleetWorld) -> tuple[Toolbox, EnrolmentRequest]:
    """A toolbox whose droplet exists, and the enrolment request that the droplet's shim will send."""
    toolbox = world.provision()
    world.deliver()
    [droplet_id] = world.digitalocean.droplets
    return toolbox, world.enrolling(droplet_id)


def assert_refused(world: FleetWorld, toolbox: Toolbox, request: EnrolmentRequest, reason: str) -> None:
    before = world.toolbox(toolbox)
    with pytest.raises(EnrolmentRefused, match=reason):
        enrol(world.deps, request, world.certificates)
    assert world.toolbox(toolbox) == before


def with_other_certificate(request: EnrolmentRequest) -> EnrolmentRequest:
    return replace(request, certificate=OTHER, fingerprint=fingerprint(OTHER))


def test_matching_shim_is_enrolled_and_its_toolbox_is_reconciled_at_once(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    enrol(world.deps, request, world.certificates)
    enrolled = world.toolbox(toolbox)
    assert (enrolled.certificate, enrolled.fingerprint) == (request.certificate, request.fingerprint)
    assert world.queue.tasks == [Task("toolbox", toolbox.id)]


def test_certificate_that_the_droplet_does_not_present_is_refused(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    assert_refused(world, toolbox, with_other_certificate(request), "has another certificate")


def test_wrong_or_missing_token_is_refused_without_an_api_call(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    calls = len(world.digitalocean.calls)
    assert_refused(world, toolbox, replace(request, token="guessed"), "enrolment token is not")
    assert_refused(world, toolbox, replace(request, token=None), "an enrolment token is required")
    assert len(world.digitalocean.calls) == calls, "an unauthenticated request caused a call of DigitalOcean's API"


def test_expired_token_is_refused(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    world.pass_time(TOKEN_LIFE.total_seconds())
    assert_refused(world, toolbox, request, "expired")


def test_token_from_another_droplet_is_refused(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    other_droplet = world.digitalocean.add("another", [])
    assert_refused(world, toolbox, replace(request, droplet_id=other_droplet.id), "is not")


def test_token_from_another_droplet_is_refused_while_the_own_is_unknown(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("lost"), "create", after=True))
    world.digitalocean.lists_late = timedelta(minutes=5)
    toolbox, request = toolbox_awaiting_enrolment(world)
    assert world.toolbox(toolbox).droplet_id is None
    other_droplet = world.digitalocean.add("another", [f"toolbox-{toolbox.id}"])
    assert_refused(world, toolbox, replace(request, droplet_id=other_droplet.id), "was not created for this toolbox")
    assert_refused(world, toolbox, replace(request, droplet_id="999"), "was not created for this toolbox")


def test_enrolment_identifies_a_droplet_whose_create_answer_was_lost(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("lost"), "create", after=True))
    world.digitalocean.lists_late = timedelta(minutes=5)
    toolbox, request = toolbox_awaiting_enrolment(world)
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert world.toolbox(toolbox).droplet_id == request.droplet_id
    assert len(world.digitalocean.droplets) == 1


def test_stolen_token_is_refused_without_the_droplets_private_key(world: FleetWorld) -> None:
    """A thief of the token does not have the private key of the server at the droplet's address."""
    toolbox, request = toolbox_awaiting_enrolment(world)
    world.certificates.shown["192.0.2.1"] = fingerprint("a third certificate")
    assert_refused(world, toolbox, request, "has another certificate")


def test_token_of_another_toolbox_is_refused(world: FleetWorld) -> None:
    _, request = toolbox_awaiting_enrolment(world)
    second = world.provision()
    world.deliver()
    assert_refused(world, second, replace(request, toolbox_id=second.id), "enrolment token is not")


def test_token_of_an_earlier_create_attempt_is_refused(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    world.boot()
    world.deliver()
    world.request(toolbox, rebuild)
    world.deliver()
    assert_refused(world, toolbox, with_other_certificate(request), "enrolment token is not")


def test_old_droplet_is_refused_during_a_rebuild(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    world.boot()
    world.deliver()
    world.request(toolbox, rebuild)
    assert_refused(world, toolbox, request, "has no droplet yet")


def test_enrolled_certificate_may_enrol_again_without_a_token(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    enrol(world.deps, request, world.certificates)
    before = world.toolbox(toolbox)
    world.pass_time(31 * 86_400)
    enrol(world.deps, replace(request, token=None), world.certificates)
    assert world.toolbox(toolbox) == before
    assert_refused(world, toolbox, with_other_certificate(request), "Another certificate is enrolled")


def test_one_of_two_concurrent_enrolments_is_refused(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    world.certificates.shown["192.0.2.1"] = fingerprint(OTHER)

    def enrol_first(writes: object) -> None:
        world.store.before_commit = lambda writes: None
        world.certificates.shown.clear()
        enrol(world.deps, request, world.certificates)

    world.store.before_commit = enrol_first
    with pytest.raises(EnrolmentRefused, match="Another certificate is enrolled"):
        enrol(world.deps, with_other_certificate(request), world.certificates)
    assert world.toolbox(toolbox).fingerprint == request.fingerprint


def test_enrolment_repeated_after_a_lost_answer_is_recorded_once(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)

    def lose_answer(writes: object) -> None:
        world.store.after_commit = lambda writes: None
        raise Conflict("the answer of the first attempt was lost, and its repeat refused")

    world.store.after_commit = lose_answer
    enrol(world.deps, request, world.certificates)
    enrol(world.deps, request, world.certificates)
    types = [event_type for event_type, _, _ in world.toolbox_events(toolbox)]
    assert types.count("enrolled") == 1


def test_enrolment_fails_with_unreachable_while_the_droplet_is_silent(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    before = world.toolbox(toolbox)

    class SilentCertificates(type(world.certificates)):  # type: ignore[misc]
        def fingerprint_at(self, address: str) -> str:
            raise ToolboxUnreachable(f"{address} does not answer")

    with pytest.raises(ToolboxUnreachable):
        enrol(world.deps, request, SilentCertificates())
    assert world.toolbox(toolbox) == before


def test_enrolment_for_a_missing_failed_or_deleted_toolbox_is_refused(world: FleetWorld) -> None:
    toolbox, request = toolbox_awaiting_enrolment(world)
    unknown = replace(request, toolbox_id="99999999-9999-4999-8999-999999999999")
    assert_refused(world, toolbox, unknown, "no such toolbox")
    for _ in range(62):
        world.sweep()
    assert_refused(world, toolbox, request, "expects no shim")
    world.request(toolbox, deprovision)
    assert_refused(world, toolbox, request, "no such toolbox")


def send_hint(world: FleetWorld, token: str, rates: Rates | None = None) -> None:
    notify(world.deps, token, world.certificates, rates or Rates(Rate(10, 60), world.now))


def hint_token(toolbox: Toolbox) -> str:
    return f"{toolbox.id} signed by {toolbox.certificate} for notify"


def test_hint_triggers_the_repair_of_a_crash_without_a_sweep(world: FleetWorld) -> None:
    toolbox = world.active()
    [droplet] = world.fleet.booted.values()
    instance = world.deploy_on(toolbox)
    send_hint(world, hint_token(toolbox))
    world.deliver()
    droplet.die(instance.container_name)
    send_hint(world, hint_token(toolbox))
    world.deliver()
    assert droplet.running() == [instance.container_name]
    assert "crashed" in [event_type for event_type, _, _ in world.events(instance)]


def test_forged_hint_is_refused_and_publishes_no_task(world: FleetWorld) -> None:
    toolbox = world.active()
    second = world.active()
    forged = (
        hint_token(toolbox).replace(" for notify", " for enrol"),
        f"{toolbox.id} signed by {second.certificate} for notify",
        hint_token(replace(toolbox, id="99999999-9999-4999-8999-999999999999")),
    )
    for token in forged:
        with pytest.raises(Unauthorized):
            send_hint(world, token)
    assert world.queue.tasks == []


def test_repeated_hints_are_rate_limited_and_change_nothing(world: FleetWorld) -> None:
    toolbox = world.active()
    world.sweep()
    before, rates = world.toolbox(toolbox), Rates(Rate(10, 60), world.now)
    for _ in range(10):
        send_hint(world, hint_token(toolbox), rates)
    with pytest.raises(TooManyRequests):
        send_hint(world, hint_token(toolbox), rates)
    world.deliver()
    assert world.toolbox(toolbox) == before
