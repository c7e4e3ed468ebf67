"""What is to be done about a toolbox's droplet, as printed plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.domain.errors import (
    DigitalOceanBusy,
    DigitalOceanRefused,
    DigitalOceanUnknown,
    NotAllowedNow,
    ToolboxUnreachable,
)
from functions.domain.instance.model import Failure, IllegalMove, Reason
from functions.domain.toolbox import observe as toolbox_observe
from functions.domain.toolbox.decide import decide
from functions.domain.toolbox.droplet import CREATE_SETTLES_WITHIN, TOKEN_LIFE, Droplet, droplet_name, swap_mib
from functions.domain.toolbox.model import (
    TOOLBOX_MOVES,
    CreateAttempt,
    RetiredDroplet,
    ShimUpgrade,
    Toolbox,
    ToolboxState,
    ToolboxStatus,
    check_toolbox_move,
)
from functions.domain.toolbox.request import request_deprovision, request_rebuild, request_shim_upgrade

ID = "11111111-1111-4111-8111-111111111111"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = CreateAttempt(1, NOW, "hash", NOW + TOKEN_LIFE)
NEW = Toolbox(
    id=ID, account="a", name="box", status=ToolboxStatus.PROVISIONING, region="fra1", size="s-1vcpu-1gb",
    image="debian-12-x64", created_at=NOW, updated_at=NOW,
)  # fmt: skip
MADE = replace(
    NEW, has_firewall=True, attempt=replace(FIRST, resolved=True), droplet_id="500", droplet_name=droplet_name(ID, 1),
    address="192.0.2.1",
)  # fmt: skip
ENROLLED = replace(MADE, certificate="PEM", fingerprint="f")
SERVING = replace(ENROLLED, status=ToolboxStatus.ACTIVE, served_at=NOW, observed_generation=1)
OLD = RetiredDroplet("500", droplet_name(ID, 1), "192.0.2.1", "f")
DROPLET = Droplet("500", droplet_name(ID, 1), "new", NOW)


def plan(toolbox: Toolbox) -> list[str]:
    return str(decide(toolbox)).replace(ID, "ID").split("\n")


def test_a_new_toolbox() -> None:
    assert plan(NEW) == [
        "open firewall toolbox-ID: the firewall is not known to exist",
        "create toolbox-ID-1: no droplet",
        "await the enrolment of toolbox-ID-1: its shim has not enrolled",
        "query the shim of toolbox-ID-1: it has not answered a command yet",
    ]


def test_a_create_whose_answer_was_not_heard_is_looked_for_before_anything_else_is_made() -> None:
    assert plan(replace(NEW, has_firewall=True, attempt=FIRST))[0] == (
        "find toolbox-ID-1: the outcome of its create is unknown"
    )


def test_an_attempt_that_came_to_nothing_is_followed_by_one_of_another_name() -> None:
    assert (
        plan(replace(NEW, has_firewall=True, attempt=replace(FIRST, resolved=True)))[0]
        == "create toolbox-ID-2: no droplet"
    )


def test_a_droplet_that_is_to_enrol_and_one_that_has() -> None:
    assert plan(MADE) == [
        "await the enrolment of toolbox-ID-1: its shim has not enrolled",
        "query the shim of toolbox-ID-1: it has not answered a command yet",
    ]
    assert plan(ENROLLED) == ["query the shim of toolbox-ID-1: it has not answered a command yet"]


def test_nothing_is_to_be_done_about_one_that_serves_or_was_given_up() -> None:
    assert plan(SERVING) == ["nothing to do"]
    assert plan(replace(NEW, failure=Failure(1, Reason("x", "y")))) == ["nothing to do"]


def test_a_rebuild_is_quiet_before_it_makes_another_and_destroys_the_old_one_last() -> None:
    assert plan(request_rebuild(SERVING)) == [
        "list the containers of toolbox-ID-1: another droplet takes its place",
        "create toolbox-ID-2: no droplet",
        "await the enrolment of toolbox-ID-2: its shim has not enrolled",
        "query the shim of toolbox-ID-2: it has not answered a command yet",
        "redeploy the instances of ID: their droplet is new",
        "destroy toolbox-ID-1: another droplet serves",
        "await the removal of toolbox-ID-1: the API still lists it",
    ]


def test_what_runs_on_the_old_droplet_is_stopped_one_by_one() -> None:
    retired = replace(OLD, running=["tool-a", "tool-b"])
    assert plan(replace(request_rebuild(SERVING), retired=[retired]))[:2] == [
        "stop tool-a: another droplet takes its place",
        "stop tool-b: another droplet takes its place",
    ]


def test_an_old_droplet_that_never_enrolled_runs_nothing() -> None:
    assert (
        plan(request_rebuild(replace(MADE, status=ToolboxStatus.ERROR_PROVISIONING)))[0]
        == "create toolbox-ID-2: no droplet"
    )


def test_an_enrolled_shim_has_the_old_droplet_listed_once_more_before_it_serves() -> None:
    quiet = replace(request_rebuild(SERVING), retired=[replace(OLD, running=[])], attempt=replace(FIRST, number=2))
    seen = replace(DROPLET, id="501", name=droplet_name(ID, 2), address="192.0.2.2")
    enrolled = toolbox_observe.fold_enrolment(quiet, seen, "PEM 2", "f2")
    assert plan(enrolled)[:2] == [
        "list the containers of toolbox-ID-1: another droplet takes its place",
        "query the shim of toolbox-ID-2: it has not answered a command yet",
    ]


def test_the_end_of_a_toolbox() -> None:
    assert plan(request_deprovision(SERVING)) == [
        "tear down the instances of ID: desired deprovisioned",
        "destroy toolbox-ID-1: desired deprovisioned",
        "await the removal of toolbox-ID-1: the API still lists it",
        "release the reservations of ID: no droplet holds them any more",
        "remove firewall toolbox-ID: desired deprovisioned",
    ]


def test_the_end_of_one_whose_create_may_yet_have_gone_through() -> None:
    assert plan(request_deprovision(replace(NEW, attempt=FIRST)))[0] == (
        "find toolbox-ID-1: the outcome of its create is unknown"
    )


def test_the_end_of_one_in_the_middle_of_a_rebuild_is_that_of_both_droplets() -> None:
    both = replace(MADE, droplet_id="501", droplet_name=droplet_name(ID, 2), retired=[OLD])
    assert [line for line in plan(request_deprovision(both)) if line.startswith("destroy")] == [
        "destroy toolbox-ID-2: desired deprovisioned",
        "destroy toolbox-ID-1: desired deprovisioned",
    ]


def test_another_shim() -> None:
    assert plan(request_shim_upgrade(SERVING, "shim@sha256:1")) == [
        "pull shim@sha256:1: an upgrade was requested",
        "upgrade the shim to shim@sha256:1: an upgrade was requested",
        "await the shim shim@sha256:1: the upgrade was sent",
    ]
    assert len(plan(replace(SERVING, upgrade=ShimUpgrade("shim@sha256:1", True, NOW)))) == 1


def test_that_a_create_has_made_nothing_is_believed_only_after_a_while() -> None:
    asked = replace(NEW, attempt=FIRST)
    assert toolbox_observe.fold_search(asked, [], NOW + CREATE_SETTLES_WITHIN - timedelta(seconds=1)) == asked
    over = toolbox_observe.fold_search(asked, [], NOW + CREATE_SETTLES_WITHIN)
    assert over.attempt == replace(FIRST, resolved=True)


def test_what_carries_another_name_is_not_what_was_made() -> None:
    other = replace(DROPLET, name=droplet_name(ID, 7))
    assert toolbox_observe.fold_search(replace(NEW, attempt=FIRST), [other], NOW).droplet_id is None


def test_of_two_by_one_name_the_first_is_taken() -> None:
    later = replace(DROPLET, id="400", created_at=NOW + timedelta(seconds=1))
    assert toolbox_observe.fold_search(replace(NEW, attempt=FIRST), [later, DROPLET], NOW).droplet_id == "500"


@pytest.mark.parametrize(
    ("error", "over", "given_up"),
    [
        (DigitalOceanUnknown("timed out"), False, False),
        (DigitalOceanBusy("too many", 30), True, False),
        (DigitalOceanRefused("no such size"), True, True),
    ],
)
def test_what_an_error_of_the_create_call_tells(error: Exception, over: bool, given_up: bool) -> None:
    asked = replace(NEW, attempt=FIRST, has_firewall=True)
    step = decide(replace(NEW, has_firewall=True)).steps[0]
    after = toolbox_observe.fold_error(asked, step, error, NOW)  # type: ignore[arg-type]
    assert after.attempt
    assert (after.attempt.resolved, after.failure_reason is not None) == (over, given_up)
    assert after.status == ("error_provisioning" if given_up else "provisioning")


def test_a_droplet_that_does_not_enrol_in_time_or_is_destroyed_is_given_up() -> None:
    assert toolbox_observe.fold_enrolment_wait(MADE, DROPLET, NOW + TOKEN_LIFE).status == "error_provisioning"
    gone = toolbox_observe.fold_enrolment_wait(MADE, None, NOW + CREATE_SETTLES_WITHIN)
    assert gone.failure_reason
    assert gone.failure_reason.code == "droplet-gone"
    assert toolbox_observe.fold_enrolment_wait(MADE, None, NOW) == MADE


def test_a_refused_end_is_shown_and_goes_on() -> None:
    leaving = toolbox_observe.begin(request_deprovision(replace(SERVING, instances_ended=True)))
    step = decide(replace(leaving, instances_ended=True)).steps[0]
    after = toolbox_observe.fold_error(leaving, step, DigitalOceanRefused("no"), NOW)
    assert (after.status, after.error) == ("error_deprovisioning", "no")
    assert toolbox_observe.begin(after).status == "deprovisioning"


def test_an_old_droplet_that_cannot_be_reached_is_quiet_enough() -> None:
    rebuilt = request_rebuild(SERVING)
    step = decide(rebuilt).steps[0]
    after = toolbox_observe.fold_error(rebuilt, step, ToolboxUnreachable("no"), NOW)
    assert plan(after)[0] == "create toolbox-ID-2: no droplet"


@pytest.mark.parametrize("status", [ToolboxStatus.PROVISIONING, ToolboxStatus.DEPROVISIONING])
def test_no_rebuild_of_what_is_being_made_or_is_going(status: ToolboxStatus) -> None:
    with pytest.raises(NotAllowedNow):
        request_rebuild(replace(SERVING, status=status))


def test_the_shim_is_upgraded_only_where_all_else_is_as_asked() -> None:
    for wrong in (replace(SERVING, status=ToolboxStatus.UNRESPONSIVE), replace(SERVING, generation=2)):
        with pytest.raises(NotAllowedNow):
            request_shim_upgrade(wrong, "shim@sha256:1")


def test_asking_for_the_end_twice_is_one_wish() -> None:
    assert request_deprovision(request_deprovision(SERVING)) == request_deprovision(SERVING)


def test_nothing_comes_back_from_the_end() -> None:
    leaving = {status for status in ToolboxStatus if "deprovision" in status}
    assert all(TOOLBOX_MOVES[status] <= leaving for status in leaving)
    assert TOOLBOX_MOVES[ToolboxStatus.DEPROVISIONED] == frozenset()
    with pytest.raises(IllegalMove):
        check_toolbox_move(ToolboxStatus.DEPROVISIONING, ToolboxStatus.ACTIVE)
    check_toolbox_move(ToolboxStatus.ACTIVE, ToolboxStatus.ACTIVE)


@pytest.mark.parametrize(
    ("size", "mib"), [("s-1vcpu-512mb-10gb", 1024), ("s-1vcpu-1gb", 1024), ("s-1vcpu-2gb", 2048), ("s-2vcpu-4gb", 0)]
)
def test_small_droplets_swap(size: str, mib: int) -> None:
    assert swap_mib(size) == mib


def test_the_desired_state_is_told_apart_from_its_status() -> None:
    assert request_deprovision(SERVING).desired_state is ToolboxState.DEPROVISIONED
    assert request_deprovision(SERVING).generation == SERVING.generation + 1
