"""Who may enrol as a toolbox's shim, and who may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from functions.domain.account.limits import Rate
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
from functions.lifecycle.account.rates import Rates
from functions.lifecycle.dependencies import Task
from functions.lifecycle.toolbox.change import deprovision, rebuild
from functions.lifecycle.toolbox.enrolment import enrol, notify
from tests.fakes.digitalocean import ApiFault
from tests.fakes.fleet import FleetWorld, fingerprint

OTHER = "a different certificate"


@pytest.fixture
def world() -> FleetWorld:
    return FleetWorld()


def waiting(world: FleetWorld) -> tuple[Toolbox, EnrolmentRequest]:
    """A toolbox whose droplet is made, and what its shim is about to say."""
    toolbox = world.provision()
    world.deliver()
    [droplet_id] = world.digitalocean.droplets
    return toolbox, world.enrolling(droplet_id)


def refused(world: FleetWorld, toolbox: Toolbox, asked: EnrolmentRequest, why: str) -> None:
    before = world.toolbox(toolbox)
    with pytest.raises(EnrolmentRefused, match=why):
        enrol(world.deps, asked, world.certificates)
    assert world.toolbox(toolbox) == before


def other(asked: EnrolmentRequest) -> EnrolmentRequest:
    return replace(asked, certificate=OTHER, fingerprint=fingerprint(OTHER))


def test_the_right_shim_is_enrolled_and_its_toolbox_converges_at_once(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    enrol(world.deps, asked, world.certificates)
    enrolled = world.toolbox(toolbox)
    assert (enrolled.certificate, enrolled.fingerprint) == (asked.certificate, asked.fingerprint)
    assert world.queue.tasks == [Task("toolbox", toolbox.id)]


def test_the_token_with_another_certificate_than_the_droplet_shows(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    refused(world, toolbox, other(asked), "shows another certificate")


def test_a_wrong_token(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    calls = len(world.digitalocean.calls)
    refused(world, toolbox, replace(asked, token="guessed"), "the token is not")
    refused(world, toolbox, replace(asked, token=None), "no token was sent")
    assert len(world.digitalocean.calls) == calls, "a stranger cannot have the API called"


def test_an_expired_token(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    world.pass_time(TOKEN_LIFE.total_seconds())
    refused(world, toolbox, asked, "expired")


def test_a_token_from_another_droplet(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    stray = world.digitalocean.add("another", [])
    refused(world, toolbox, replace(asked, droplet_id=stray.id), "is not")


def test_a_token_from_another_droplet_before_its_own_is_known(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("lost"), "create", after=True))
    world.digitalocean.lists_late = timedelta(minutes=5)
    toolbox, asked = waiting(world)
    assert world.toolbox(toolbox).droplet_id is None
    stray = world.digitalocean.add("another", [f"toolbox-{toolbox.id}"])
    refused(world, toolbox, replace(asked, droplet_id=stray.id), "is not the one that was made")
    refused(world, toolbox, replace(asked, droplet_id="999"), "is not the one that was made")


def test_a_droplet_may_enrol_before_it_is_known_and_is_known_by_that(world: FleetWorld) -> None:
    world.digitalocean.faults.append(ApiFault(DigitalOceanUnknown("lost"), "create", after=True))
    world.digitalocean.lists_late = timedelta(minutes=5)
    toolbox, asked = waiting(world)
    world.settle()
    assert world.toolbox(toolbox).status == "active"
    assert world.toolbox(toolbox).droplet_id == asked.droplet_id
    assert len(world.digitalocean.droplets) == 1


def test_a_token_from_another_address(world: FleetWorld) -> None:
    """Who read the token elsewhere has not the key of what answers at the droplet's address."""
    toolbox, asked = waiting(world)
    world.certificates.shown["192.0.2.1"] = fingerprint("somebody else's")
    refused(world, toolbox, asked, "shows another certificate")


def test_the_token_of_one_toolbox_for_another(world: FleetWorld) -> None:
    _, asked = waiting(world)
    second = world.provision()
    world.deliver()
    refused(world, second, replace(asked, toolbox_id=second.id), "the token is not")


def test_the_token_of_an_attempt_before(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    world.boot()
    world.deliver()
    world.asked(toolbox, rebuild)
    world.deliver()
    refused(world, toolbox, other(asked), "the token is not")


def test_a_droplet_that_is_to_go_before_its_successor_is_made(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    world.boot()
    world.deliver()
    world.asked(toolbox, rebuild)
    refused(world, toolbox, asked, "is not made yet")


def test_the_same_certificate_may_ask_again_without_a_token_and_another_may_not(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    enrol(world.deps, asked, world.certificates)
    before = world.toolbox(toolbox)
    world.pass_time(31 * 86_400)
    enrol(world.deps, replace(asked, token=None), world.certificates)
    assert world.toolbox(toolbox) == before
    refused(world, toolbox, other(asked), "another certificate is enrolled")


def test_of_two_that_race_one_is_enrolled(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    world.certificates.shown["192.0.2.1"] = fingerprint(OTHER)

    def overtaken(writes: object) -> None:
        world.store.before_commit = lambda writes: None
        world.certificates.shown.clear()
        enrol(world.deps, asked, world.certificates)

    world.store.before_commit = overtaken
    with pytest.raises(EnrolmentRefused, match="another certificate is enrolled"):
        enrol(world.deps, other(asked), world.certificates)
    assert world.toolbox(toolbox).fingerprint == asked.fingerprint


def test_one_whose_first_answer_was_lost_is_enrolled_once(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)

    def lost(writes: object) -> None:
        world.store.after_commit = lambda writes: None
        raise Conflict("the answer of the first attempt was lost, and its repeat refused")

    world.store.after_commit = lost
    enrol(world.deps, asked, world.certificates)
    enrol(world.deps, asked, world.certificates)
    kinds = [kind for kind, _, _ in world.toolbox_events(toolbox)]
    assert kinds.count("enrolled") == 1


def test_a_droplet_that_does_not_answer_is_asked_to_come_again(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    before = world.toolbox(toolbox)

    class Silent(type(world.certificates)):  # type: ignore[misc]
        def shown_at(self, address: str) -> str:
            raise ToolboxUnreachable(f"{address} does not answer")

    with pytest.raises(ToolboxUnreachable):
        enrol(world.deps, asked, Silent())
    assert world.toolbox(toolbox) == before


def test_no_enrolment_for_a_toolbox_that_is_not_there_is_going_or_was_given_up(world: FleetWorld) -> None:
    toolbox, asked = waiting(world)
    refused(world, toolbox, replace(asked, toolbox_id="99999999-9999-4999-8999-999999999999"), "no such toolbox")
    for _ in range(62):
        world.sweep()
    refused(world, toolbox, asked, "no droplet of this toolbox")
    world.asked(toolbox, deprovision)
    refused(world, toolbox, asked, "no such toolbox")


def hinted(world: FleetWorld, token: str, rates: Rates | None = None) -> None:
    notify(world.deps, token, world.certificates, rates or Rates(Rate(10, 60), world.now))


def token_of(toolbox: Toolbox) -> str:
    return f"{toolbox.id} signed by {toolbox.certificate} for notify"


def test_a_hint_has_the_toolbox_looked_at_and_a_death_is_repaired_without_a_sweep(world: FleetWorld) -> None:
    toolbox = world.active()
    [droplet] = world.fleet.booted.values()
    instance = world.deploy_on(toolbox)
    hinted(world, token_of(toolbox))
    world.deliver()
    droplet.die(instance.container_name)
    hinted(world, token_of(toolbox))
    world.deliver()
    assert droplet.running() == [instance.container_name]
    assert "crashed" in [kind for kind, _, _ in world.events(instance)]


def test_a_forged_hint_is_refused_and_publishes_nothing(world: FleetWorld) -> None:
    toolbox = world.active()
    second = world.active()
    forged = (
        token_of(toolbox).replace(" for notify", " for enrol"),
        f"{toolbox.id} signed by {second.certificate} for notify",
        token_of(replace(toolbox, id="99999999-9999-4999-8999-999999999999")),
    )
    for token in forged:
        with pytest.raises(Unauthorized):
            hinted(world, token)
    assert world.queue.tasks == []


def test_hints_by_the_flood_and_again_change_nothing_but_speed(world: FleetWorld) -> None:
    toolbox = world.active()
    world.sweep()
    before, rates = world.toolbox(toolbox), Rates(Rate(10, 60), world.now)
    for _ in range(10):
        hinted(world, token_of(toolbox), rates)
    with pytest.raises(TooManyRequests):
        hinted(world, token_of(toolbox), rates)
    world.deliver()
    assert world.toolbox(toolbox) == before
