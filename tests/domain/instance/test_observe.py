"""What an observation changes in what is known of an instance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.domain.instance.condition import exit_id
from functions.domain.instance.container import Container, ContainerLimits, Port
from functions.domain.instance.model import Desired, DesiredState, Failure, Instance, Observed, PreviousVersion, Reason
from functions.domain.instance.observe import PROVEN_WITHIN, Problem, fold_container, fold_error, fold_pull
from functions.domain.instance.spec import PullProgress, Spec, engine_limits
from functions.domain.instance.steps import Inspect, StartContainer, Step, StopContainer
from functions.domain.lease import MAX_SKEW
from shim.contract import errors as shim_errors

ID = "22222222-2222-4222-8222-222222222222"
NAME, NEW_NAME = f"tool-{ID}-g1", f"tool-{ID}-g2"
AT = datetime(2026, 1, 1, tzinfo=UTC)
CONTAINER = Container(
    id="c1", name=NAME, instance_id=ID, spec_generation=1, state="running", health=None, exit_code=0, oom_killed=False,
    error="", started_at=AT.isoformat(), finished_at="", restart_count=0, image="nginx", image_digest="", ports=[],
    environment_names=[], limits=engine_limits(Spec("nginx")), endpoint_id="e1",
)  # fmt: skip
START, INSPECT = StartContainer("a test", NAME), Inspect("a test", NAME)


def instance(observed: Observed, desired: Desired | None = None) -> Instance:
    return Instance(
        id=ID, toolbox_id="t", account="a", name="n", spec=Spec("nginx"),
        desired=desired or Desired(DesiredState.RUNNING), created_at=AT, updated_at=AT, observed=observed,
    )  # fmt: skip


def test_inspected_container_clears_what_was_uncertain() -> None:
    unsure = Observed(
        reachable=False, needs_inspection=True, image_missing=True, obstacle=Reason("x", "y"),
        progress=PullProgress(1, 2, 0, 1), refused_ports=[Port(1, 25_000)],
    )  # fmt: skip
    observed = fold_container(instance(unsure), INSPECT, CONTAINER, AT).observed
    assert observed == Observed(CONTAINER, at=AT, restarts=observed.restarts)


def test_absence_is_believed_only_from_no_such_container() -> None:
    known = instance(Observed(CONTAINER))
    gone = fold_error(known, INSPECT, shim_errors.NoSuchContainer("none"), AT, AT).observed
    assert (gone.container, gone.absent) == (None, True)
    for error in (shim_errors.OutcomeUnknown("?"), shim_errors.EngineUnavailable("?"), shim_errors.NoSuchImage("?")):
        assert fold_error(known, INSPECT, error, AT, AT).observed.container == CONTAINER


def test_command_without_an_answer_may_start_until_its_deadline() -> None:
    start_by, lost = AT + timedelta(seconds=20), shim_errors.OutcomeUnknown("the toolbox broke off")
    changing = fold_error(instance(Observed(CONTAINER)), START, lost, AT, start_by).observed
    assert (changing.needs_inspection, changing.in_flight_until) == (True, start_by + MAX_SKEW)
    reading = fold_error(instance(Observed(CONTAINER)), INSPECT, lost, AT, start_by).observed
    assert (reading.needs_inspection, reading.in_flight_until) == (True, None)


@pytest.mark.parametrize(
    ("container", "seconds", "failed"),
    [
        (CONTAINER, 1, False),
        (replace(CONTAINER, health="starting"), PROVEN_WITHIN.total_seconds(), False),
        (replace(CONTAINER, health="starting"), PROVEN_WITHIN.total_seconds() + 1, True),
        (replace(CONTAINER, health="unhealthy"), 1, True),
        (replace(CONTAINER, restart_count=1), 1, True),
        (replace(CONTAINER, state="exited", exit_code=3), 1, True),
    ],
)
def test_update_fails_unless_its_container_serves_in_time(container: Container, seconds: float, failed: bool) -> None:
    updating = instance(Observed(previous=CONTAINER), Desired(DesiredState.RUNNING, generation=2, spec_generation=2))
    updating = replace(updating, previous_version=PreviousVersion(Spec("nginx"), 1))
    new = replace(container, name=NEW_NAME)
    after = fold_container(updating, Inspect("a test", NEW_NAME), new, AT + timedelta(seconds=seconds))
    assert (after.failure is not None) is failed


def test_first_version_has_no_time_limit() -> None:
    slow = replace(CONTAINER, health="starting")
    assert fold_container(instance(Observed()), INSPECT, slow, AT + timedelta(hours=1)).failure is None


EDITED = replace(CONTAINER.limits, pids=9)
FAILED = Observed(failure=Failure(1, Reason("crash-loop", "it was restarted too often")))


@pytest.mark.parametrize(
    ("step", "state", "observed", "limits", "requested"),
    [
        (StopContainer("a test", NAME), DesiredState.RUNNING, Observed(), CONTAINER.limits, True),
        (INSPECT, DesiredState.STOPPED, Observed(), CONTAINER.limits, True),
        (INSPECT, DesiredState.RUNNING, FAILED, CONTAINER.limits, True),
        (INSPECT, DesiredState.RUNNING, Observed(), EDITED, True),
        (INSPECT, DesiredState.RUNNING, Observed(), CONTAINER.limits, False),
    ],
)
def test_end_after_a_stop_without_an_answer_still_counts_as_requested(
    step: Step, state: DesiredState, observed: Observed, limits: ContainerLimits, requested: bool
) -> None:
    ended = replace(CONTAINER, state="exited", finished_at="2026-01-01T00:00:01Z", limits=limits)
    after = fold_container(instance(observed, Desired(state)), step, ended, AT)
    assert after.observed.requested_exit == (exit_id(ended) if requested else "")


@pytest.mark.parametrize(
    ("error", "final"),
    [
        (shim_errors.Refused("the command is malformed"), True),
        (shim_errors.ImageUnavailable("manifest unknown"), True),
        (shim_errors.StartFailed("no such file"), True),
        (shim_errors.ClockSkew("the clocks differ"), False),
        (shim_errors.EngineUnavailable("no engine"), False),
    ],
)
def test_generation_fails_only_where_another_attempt_would_fail_too(error: Problem, final: bool) -> None:
    after = fold_error(instance(Observed()), START, error, AT, AT)
    assert (after.failure is not None, after.observed.obstacle is None) == (final, final)
    deleting = instance(Observed(), Desired(DesiredState.DELETED))
    assert fold_error(deleting, START, error, AT, AT).failure is None


def test_pulled_image_is_no_longer_missing() -> None:
    pulling = instance(Observed(image_missing=True, progress=PullProgress(1, 2, 0, 1)))
    assert fold_pull(pulling, AT).observed == Observed(at=AT)
