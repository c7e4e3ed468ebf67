"""The plan for a toolbox and its droplet, as printed, and what each observation changes in it."""

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
from functions.domain.instance.observe import Problem
from functions.domain.toolbox import observe
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
    id=ID,
    account="a",
    name="box",
    status=ToolboxStatus.PROVISIONING,
    region="fra1",
    size="s-1vcpu-1gb",
    image="debian-12-x64",
    created_at=NOW,
    updated_at=NOW,
)
CREATED = replace(
    NEW,
    has_firewall=True,
    attempt=replace(FIRST, resolved=True),
    droplet_id="500",
    droplet_name=droplet_name(ID, 1),
    address="192.0.2.1",
)
ENROLLED = replace(CREATED, certificate="PEM", fingerprint="f")
SERVING = replace(ENROLLED, status=ToolboxStatus.ACTIVE, served_at=NOW, observed_generation=1)
OLD = RetiredDroplet("500", droplet_name(ID, 1), "192.0.2.1", "f")
DROPLET = Droplet("500", droplet_name(ID, 1), "new", NOW)


def plan(toolbox: Toolbox) -> list[str]:
    return str(decide(toolbox)).replace(ID, "ID").split("\n")


def test_new_toolbox_gets_a_firewall_and_a_droplet() -> None:
    assert plan(NEW) == [
        "open firewall toolbox-ID: the firewall is not known to exist",
        "create toolbox-ID-1: no droplet",
        "await the enrolment of toolbox-ID-1: its shim has not enrolled",
        "query the shim of toolbox-ID-1: it has not answered a command yet",
    ]


def test_droplet_of_a_create_without_an_answer_is_searched_first() -> None:
    assert plan(replace(NEW, has_firewall=True, attempt=FIRST))[0] == (
        "find toolbox-ID-1: the outcome of its create is unknown"
    )


def test_attempt_after_a_failed_one_uses_another_name() -> None:
    assert (
        plan(replace(NEW, has_firewall=True, attempt=replace(FIRST, resolved=True)))[0]
        == "create toolbox-ID-2: no droplet"
    )


def test_droplet_must_enrol_and_then_answer_a_command() -> None:
    assert plan(CREATED) == [
        "await the enrolment of toolbox-ID-1: its shim has not enrolled",
        "query the shim of toolbox-ID-1: it has not answered a command yet",
    ]
    assert plan(ENROLLED) == ["query the shim of toolbox-ID-1: it has not answered a command yet"]


def test_toolbox_that_serves_or_has_failed_needs_nothing() -> None:
    assert plan(SERVING) == ["nothing to do"]
    assert plan(replace(NEW, failure=Failure(1, Reason("x", "y")))) == ["nothing to do"]


def test_rebuild_stops_the_old_droplet_first_and_destroys_it_last() -> None:
    assert plan(request_rebuild(SERVING)) == [
        "list the containers of toolbox-ID-1: another droplet takes its place",
        "create toolbox-ID-2: no droplet",
        "await the enrolment of toolbox-ID-2: its shim has not enrolled",
        "query the shim of toolbox-ID-2: it has not answered a command yet",
        "redeploy the instances of ID: their droplet is new",
        "destroy toolbox-ID-1: another droplet serves",
        "await the removal of toolbox-ID-1: the API still lists it",
    ]


def test_containers_on_the_old_droplet_are_stopped_one_by_one() -> None:
    retired = replace(OLD, running=["tool-a", "tool-b"])
    assert plan(replace(request_rebuild(SERVING), retired=[retired]))[:2] == [
        "stop tool-a: another droplet takes its place",
        "stop tool-b: another droplet takes its place",
    ]


def test_old_droplet_that_never_enrolled_is_not_queried() -> None:
    assert (
        plan(request_rebuild(replace(CREATED, status=ToolboxStatus.ERROR_PROVISIONING)))[0]
        == "create toolbox-ID-2: no droplet"
    )


def test_enrolment_has_the_old_droplet_listed_again_before_it_serves() -> None:
    stopped = replace(request_rebuild(SERVING), retired=[replace(OLD, running=[])], attempt=replace(FIRST, number=2))
    droplet = replace(DROPLET, id="501", name=droplet_name(ID, 2), address="192.0.2.2")
    enrolled = observe.fold_enrolment(stopped, droplet, "PEM 2", "f2")
    assert plan(enrolled)[:2] == [
        "list the containers of toolbox-ID-1: another droplet takes its place",
        "query the shim of toolbox-ID-2: it has not answered a command yet",
    ]


def test_deprovision_destroys_the_droplet_before_it_releases_anything() -> None:
    assert plan(request_deprovision(SERVING)) == [
        "tear down the instances of ID: desired deprovisioned",
        "destroy toolbox-ID-1: desired deprovisioned",
        "await the removal of toolbox-ID-1: the API still lists it",
        "release the reservations of ID: no droplet holds them any more",
        "remove firewall toolbox-ID: desired deprovisioned",
    ]


def test_deprovision_searches_for_the_droplet_of_an_unanswered_create() -> None:
    assert plan(request_deprovision(replace(NEW, attempt=FIRST)))[0] == (
        "find toolbox-ID-1: the outcome of its create is unknown"
    )


def test_deprovision_during_a_rebuild_destroys_both_droplets() -> None:
    both = replace(CREATED, droplet_id="501", droplet_name=droplet_name(ID, 2), retired=[OLD])
    assert [line for line in plan(request_deprovision(both)) if line.startswith("destroy")] == [
        "destroy toolbox-ID-2: desired deprovisioned",
        "destroy toolbox-ID-1: desired deprovisioned",
    ]


def test_upgrade_pulls_the_image_before_it_replaces_the_shim() -> None:
    assert plan(request_shim_upgrade(SERVING, "shim@sha256:1")) == [
        "pull shim@sha256:1: an upgrade was requested",
        "upgrade the shim to shim@sha256:1: an upgrade was requested",
        "await the shim shim@sha256:1: the upgrade was sent",
    ]
    assert len(plan(replace(SERVING, upgrade=ShimUpgrade("shim@sha256:1", True, NOW)))) == 1


def test_create_without_an_answer_is_given_up_only_after_a_while() -> None:
    searching = replace(NEW, attempt=FIRST)
    assert observe.fold_search(searching, [], NOW + CREATE_SETTLES_WITHIN - timedelta(seconds=1)) == searching
    later = observe.fold_search(searching, [], NOW + CREATE_SETTLES_WITHIN)
    assert later.attempt == replace(FIRST, resolved=True)


def test_droplet_of_another_name_is_not_adopted() -> None:
    other = replace(DROPLET, name=droplet_name(ID, 7))
    assert observe.fold_search(replace(NEW, attempt=FIRST), [other], NOW).droplet_id is None


def test_of_two_droplets_of_one_name_the_older_is_adopted() -> None:
    later = replace(DROPLET, id="400", created_at=NOW + timedelta(seconds=1))
    assert observe.fold_search(replace(NEW, attempt=FIRST), [later, DROPLET], NOW).droplet_id == "500"


@pytest.mark.parametrize(
    ("error", "resolved", "failed"),
    [
        (DigitalOceanUnknown("timed out"), False, False),
        (DigitalOceanBusy("too many", 30), True, False),
        (DigitalOceanRefused("no such size"), True, True),
    ],
)
def test_error_of_the_create_call_decides_about_the_attempt(error: Problem, resolved: bool, failed: bool) -> None:
    attempted = replace(NEW, attempt=FIRST, has_firewall=True)
    step = decide(replace(NEW, has_firewall=True)).steps[0]
    after = observe.fold_error(attempted, step, error, NOW)
    assert after.attempt
    assert (after.attempt.resolved, after.failure_reason is not None) == (resolved, failed)
    assert after.status == ("error_provisioning" if failed else "provisioning")


def test_droplet_that_does_not_enrol_or_is_destroyed_fails_the_toolbox() -> None:
    assert observe.fold_enrolment_wait(CREATED, DROPLET, NOW + TOKEN_LIFE).status == "error_provisioning"
    gone = observe.fold_enrolment_wait(CREATED, None, NOW + CREATE_SETTLES_WITHIN)
    assert gone.failure_reason
    assert gone.failure_reason.code == "droplet-gone"
    assert observe.fold_enrolment_wait(CREATED, None, NOW) == CREATED


def test_refused_deprovision_is_shown_and_tried_again() -> None:
    leaving = observe.begin(request_deprovision(replace(SERVING, instances_ended=True)))
    step = decide(replace(leaving, instances_ended=True)).steps[0]
    after = observe.fold_error(leaving, step, DigitalOceanRefused("no"), NOW)
    assert (after.status, after.error) == ("error_deprovisioning", "no")
    assert observe.begin(after).status == "deprovisioning"


def test_unreachable_old_droplet_does_not_stop_a_rebuild() -> None:
    rebuilt = request_rebuild(SERVING)
    step = decide(rebuilt).steps[0]
    after = observe.fold_error(rebuilt, step, ToolboxUnreachable("no"), NOW)
    assert plan(after)[0] == "create toolbox-ID-2: no droplet"


@pytest.mark.parametrize("status", [ToolboxStatus.PROVISIONING, ToolboxStatus.DEPROVISIONING])
def test_rebuild_is_refused_while_provisioning_or_deprovisioning(status: ToolboxStatus) -> None:
    with pytest.raises(NotAllowedNow):
        request_rebuild(replace(SERVING, status=status))


def test_upgrade_is_refused_unless_the_toolbox_is_active_and_settled() -> None:
    for wrong in (replace(SERVING, status=ToolboxStatus.UNRESPONSIVE), replace(SERVING, generation=2)):
        with pytest.raises(NotAllowedNow):
            request_shim_upgrade(wrong, "shim@sha256:1")


def test_second_deprovision_request_changes_nothing() -> None:
    assert request_deprovision(request_deprovision(SERVING)) == request_deprovision(SERVING)


def test_no_status_leaves_deprovisioning() -> None:
    leaving = {status for status in ToolboxStatus if "deprovision" in status}
    assert all(TOOLBOX_MOVES[status] <= leaving for status in leaving)
    assert TOOLBOX_MOVES[ToolboxStatus.DEPROVISIONED] == frozenset()
    with pytest.raises(IllegalMove):
        check_toolbox_move(ToolboxStatus.DEPROVISIONING, ToolboxStatus.ACTIVE)
    check_toolbox_move(ToolboxStatus.ACTIVE, ToolboxStatus.ACTIVE)


@pytest.mark.parametrize(
    ("size", "mib"), [("s-1vcpu-512mb-10gb", 1024), ("s-1vcpu-1gb", 1024), ("s-1vcpu-2gb", 2048), ("s-2vcpu-4gb", 0)]
)
def test_small_droplets_get_swap(size: str, mib: int) -> None:
    assert swap_mib(size) == mib


def test_deprovision_request_sets_the_desired_state_in_a_new_generation() -> None:
    assert request_deprovision(SERVING).desired_state is ToolboxState.DEPROVISIONED
    assert request_deprovision(SERVING).generation == SERVING.generation + 1
