"""The plan for each pair of desired and observed state, as printed, and the status that follows from them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.domain.instance.condition import derive_status
from functions.domain.instance.container import Container, Port
from functions.domain.instance.decide import decide
from functions.domain.instance.model import (
    Desired,
    DesiredState,
    Failure,
    IllegalMove,
    Instance,
    InstanceStatus,
    Observed,
    PreviousVersion,
    Reason,
    check_move,
    may_become,
)
from functions.domain.instance.request import request_state
from functions.domain.instance.spec import Spec, engine_limits

ID = "22222222-2222-4222-8222-222222222222"
NAME = f"tool-{ID}-g1"
RUN, STOP, DELETE = DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.DELETED
AT = datetime(2026, 1, 1, tzinfo=UTC)
T1, T2 = "2025-12-31T23:59:50.000000001Z", "2025-12-31T23:59:51.000000001Z"


def container(state: str, started_at: str = T1) -> Container:
    return Container(
        id="c" * 64,
        name=NAME,
        instance_id=ID,
        spec_generation=1,
        state=state,
        health=None,
        exit_code=0,
        oom_killed=False,
        error="",
        started_at=started_at,
        finished_at="",
        restart_count=0,
        image="nginx",
        image_digest="",
        ports=[],
        environment_names=[],
        limits=engine_limits(Spec("nginx")),
        endpoint_id="",
    )


def instance(state: DesiredState, observed: Observed, **desired: Any) -> Instance:
    return Instance(
        id=ID,
        toolbox_id="t",
        account="a",
        name="n",
        spec=Spec("nginx"),
        desired=Desired(state, **desired),
        created_at=AT,
        updated_at=AT,
        observed=observed,
    )


IS_RUNNING, HAS_EXITED = Observed(container("running")), Observed(container("exited"))
EXIT_ID = f"{'c' * 64} "
GONE, NEVER_RAN = Observed(absent=True), Observed(container("created", ""))
FAILED = Observed(container("created", ""), failure=Failure(1, Reason("start-failed", "no such file")), generation=1)


@pytest.mark.parametrize(
    ("state", "observed", "plan"),
    [
        (RUN, Observed(), f"create {NAME}: no container\nstart {NAME}: desired running"),
        (RUN, GONE, f"create {NAME}: no container\nstart {NAME}: desired running"),
        (STOP, Observed(), f"create {NAME}: no container"),
        (RUN, Observed(image_missing=True),
         f"pull nginx: the image is not on the toolbox\ncreate {NAME}: no container\nstart {NAME}: desired running"),
        (RUN, NEVER_RAN, f"start {NAME}: desired running, observed created"),
        (RUN, HAS_EXITED, f"record post-mortem of {NAME}: it ended unexpectedly\n"
         f"start {NAME}: desired running, observed exited"),
        (RUN, replace(HAS_EXITED, requested_exit=EXIT_ID), f"start {NAME}: desired running, observed exited"),
        (RUN, replace(HAS_EXITED, post_mortem_of=EXIT_ID), f"start {NAME}: desired running, observed exited"),
        (RUN, IS_RUNNING, "nothing to do"),
        (STOP, IS_RUNNING, f"stop {NAME}: desired stopped, observed running"),
        (STOP, Observed(container("restarting")), f"stop {NAME}: desired stopped, observed restarting"),
        (STOP, HAS_EXITED, "nothing to do"),
        (STOP, NEVER_RAN, "nothing to do"),
        (DELETE, IS_RUNNING, f"stop {NAME}: desired deleted\n"
         f"record post-mortem of {NAME}: it is about to be removed\nremove {NAME}: desired deleted"),
        (DELETE, HAS_EXITED, f"record post-mortem of {NAME}: it is about to be removed\n"
         f"remove {NAME}: desired deleted"),
        (DELETE, replace(HAS_EXITED, post_mortem_of=EXIT_ID), f"remove {NAME}: desired deleted"),
        (DELETE, NEVER_RAN, f"remove {NAME}: desired deleted"),
        (DELETE, Observed(), f"remove {NAME}: desired deleted"),
        (DELETE, GONE, "nothing to do"),
        (RUN, replace(IS_RUNNING, needs_inspection=True), f"inspect {NAME}: it may have changed unseen"),
        (DELETE, replace(GONE, needs_inspection=True), f"inspect {NAME}: it may have changed unseen"),
        (RUN, FAILED, f"remove {NAME}: gave up: start-failed"),
        (RUN, replace(FAILED, container=None, absent=True), "nothing to do"),
        (RUN, replace(FAILED, container=container("exited")), "nothing to do"),
        (RUN, replace(FAILED, container=container("restarting"), post_mortem_of=f"{'c' * 64} {T1}"),
         f"stop {NAME}: gave up: start-failed"),
        (RUN, Observed(container("paused")), f"restart {NAME}: it was paused by hand"),
        (RUN, Observed(replace(container("running"), health="starting")),
         f"await the health of {NAME}: observed running, health starting"),
    ],
)  # fmt: skip
def test_plan_leads_from_observed_to_desired_state(state: DesiredState, observed: Observed, plan: str) -> None:
    assert str(decide(instance(state, observed))) == plan


def test_restart_is_planned_until_the_container_has_started_again() -> None:
    restarting = instance(RUN, IS_RUNNING, restart_after=T1)
    assert str(decide(restarting)) == f"restart {NAME}: a restart was requested"
    restarted = replace(restarting, observed=Observed(container("running", T2)))
    assert str(decide(restarted)) == "nothing to do"


OTHER = f"tool-{ID}-g2"
UPDATE_FAILED = Failure(2, Reason("image-unavailable", "manifest unknown"))
BOTH_EXIST = Observed(container("running", T2), at=AT, previous=container("exited", T1))


@pytest.mark.parametrize(
    ("state", "observed", "plan"),
    [
        (RUN, Observed(previous=container("running")),
         f"create {OTHER}: no container\nstop {NAME}: a new version replaces it\n"
         f"start {OTHER}: desired running"),
        (RUN, replace(BOTH_EXIST, post_mortem_of=EXIT_ID), f"remove {NAME}: it was replaced"),
        (RUN, replace(BOTH_EXIST, post_mortem_of=EXIT_ID, at=AT - timedelta(seconds=8)),
         f"await the health of {OTHER}: running for less than 2 seconds\nremove {NAME}: it was replaced"),
        (RUN, replace(BOTH_EXIST, post_mortem_of=EXIT_ID, container=container("paused", T2)),
         f"restart {OTHER}: it was paused by hand\nawait the health of {OTHER}: observed paused, health not checked\n"
         f"remove {NAME}: it was replaced"),
        (RUN, replace(BOTH_EXIST, previous_needs_inspection=True),
         f"inspect {NAME}: it may have changed unseen"),
        (RUN, replace(BOTH_EXIST, needs_inspection=True, previous_needs_inspection=True),
         f"inspect {OTHER}: it may have changed unseen"),
        (RUN, Observed(container("created", ""), previous=container("exited"), failure=UPDATE_FAILED),
         f"remove {OTHER}: gave up: image-unavailable\nroll back to {NAME}: gave up: image-unavailable"),
        (RUN, Observed(absent=True, previous=container("exited"), failure=UPDATE_FAILED),
         f"roll back to {NAME}: gave up: image-unavailable"),
        (STOP, Observed(absent=True, previous=container("running"), failure=UPDATE_FAILED),
         f"roll back to {NAME}: gave up: image-unavailable"),
        (RUN, Observed(absent=True, previous=container("created", ""), failure=UPDATE_FAILED),
         f"remove {NAME}: it never ran"),
        (RUN, Observed(absent=True, failure=UPDATE_FAILED), "nothing to do"),
        (STOP, replace(BOTH_EXIST, post_mortem_of=EXIT_ID),
         f"stop {OTHER}: desired stopped, observed running\nremove {NAME}: it was replaced"),
    ],
)  # fmt: skip
def test_plan_of_an_update_follows_from_both_containers(state: DesiredState, observed: Observed, plan: str) -> None:
    updated = instance(state, observed, generation=2, spec_generation=2)
    assert str(decide(replace(updated, previous_version=PreviousVersion(Spec("nginx"), 1)))) == plan


PORT, REQUESTED = Port(3000, 25_000), Port(3001, 20_001)
IN_USE, REALLOCATE = "host port 25000/tcp is in use", f"reallocate host ports of {NAME}"


@pytest.mark.parametrize(
    ("state", "observed", "plan"),
    [
        (RUN, NEVER_RAN, f"remove {NAME}: {IN_USE}\n{REALLOCATE}: {IN_USE}"),
        (RUN, GONE, f"{REALLOCATE}: {IN_USE}"),
        (RUN, IS_RUNNING, f"stop {NAME}: {IN_USE}\nrecord post-mortem of {NAME}: it is about to be removed\n"
         f"remove {NAME}: {IN_USE}\n{REALLOCATE}: {IN_USE}"),
        (RUN, replace(NEVER_RAN, needs_inspection=True), f"inspect {NAME}: it may have changed unseen"),
        (RUN, FAILED, f"remove {NAME}: gave up: start-failed"),
        (STOP, NEVER_RAN, "nothing to do"),
        (STOP, GONE, f"create {NAME}: no container"),
        (DELETE, NEVER_RAN, f"remove {NAME}: desired deleted"),
    ],
)  # fmt: skip
def test_allocated_port_in_use_is_reallocated_after_its_container_is_removed(
    state: DesiredState, observed: Observed, plan: str
) -> None:
    spec = Spec("nginx", ports=[PORT, REQUESTED], allocated=[PORT])
    assert str(decide(replace(instance(state, replace(observed, refused_ports=[PORT])), spec=spec))) == plan


def test_port_requested_by_its_number_is_never_reallocated() -> None:
    refused = instance(RUN, replace(NEVER_RAN, refused_ports=[REQUESTED]))
    plan = str(decide(replace(refused, spec=Spec("nginx", ports=[PORT, REQUESTED], allocated=[PORT]))))
    assert plan == f"start {NAME}: desired running, observed created"


def test_new_generation_tries_again_after_a_failure() -> None:
    assert str(decide(request_state(instance(RUN, FAILED), RUN))) == f"start {NAME}: desired running, observed created"


@pytest.mark.parametrize(
    ("state", "observed", "status"),
    [
        (RUN, Observed(), InstanceStatus.PENDING_DEPLOY),
        (RUN, Observed(image_missing=True), InstanceStatus.DEPLOYING),
        (RUN, NEVER_RAN, InstanceStatus.DEPLOYING),
        (RUN, IS_RUNNING, InstanceStatus.RUNNING),
        (RUN, HAS_EXITED, InstanceStatus.STARTING),
        (STOP, IS_RUNNING, InstanceStatus.STOPPING),
        (STOP, HAS_EXITED, InstanceStatus.STOPPED),
        (STOP, NEVER_RAN, InstanceStatus.STOPPED),
        (RUN, FAILED, InstanceStatus.ERROR_INSTALL),
        (RUN, replace(FAILED, container=container("exited")), InstanceStatus.ERROR_RUNTIME),
        (DELETE, IS_RUNNING, InstanceStatus.DELETING),
    ],
)
def test_status_follows_from_desired_and_observed_state(
    state: DesiredState, observed: Observed, status: InstanceStatus
) -> None:
    assert derive_status(instance(state, observed)) is status


def test_failure_of_an_earlier_generation_does_not_show_in_the_status() -> None:
    assert derive_status(request_state(instance(RUN, FAILED), RUN)) is InstanceStatus.DEPLOYING


@pytest.mark.parametrize("before", InstanceStatus)
def test_no_status_leaves_deleting_or_returns_to_pending_deploy(before: InstanceStatus) -> None:
    possible = {after for after in InstanceStatus if may_become(before, after)}
    if before is InstanceStatus.DELETING:
        assert possible == {before}
    else:
        assert possible == set(InstanceStatus) - {InstanceStatus.PENDING_DEPLOY} | {before}


def test_impossible_change_of_status_is_an_error() -> None:
    check_move(InstanceStatus.RUNNING, InstanceStatus.DELETING)
    with pytest.raises(IllegalMove, match="from deleting to running"):
        check_move(InstanceStatus.DELETING, InstanceStatus.RUNNING)


@pytest.mark.parametrize(
    ("policy", "exit_code", "restart_after", "completed"),
    [
        ("no", 0, None, True),
        ("no", 1, None, True),
        ("on-failure", 0, None, True),
        ("on-failure", 1, None, False),
        ("unless-stopped", 0, None, False),
        ("no", 0, T1, False),
    ],
)
def test_finished_job_is_started_again_only_by_its_policy_or_on_request(
    policy: str, exit_code: int, restart_after: str | None, completed: bool
) -> None:
    ended = replace(container("exited"), exit_code=exit_code)
    job = instance(RUN, Observed(ended, post_mortem_of=EXIT_ID), restart_after=restart_after)
    job = replace(job, spec=replace(job.spec, restart_policy=policy))
    plan = "nothing to do" if completed else f"start {NAME}: desired running, observed exited"
    assert str(decide(job)) == plan
    assert derive_status(job) is (InstanceStatus.STOPPED if completed else InstanceStatus.STARTING)
