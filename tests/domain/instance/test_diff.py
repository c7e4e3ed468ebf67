"""What a droplet's list shows that differs from the documents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from functions.domain.instance.condition import Differences, compare
from functions.domain.instance.container import Container, ContainerLimits, ListedContainer
from functions.domain.instance.model import Desired, DesiredState, Failure, Instance, Observed, Reason
from functions.domain.instance.spec import Spec, engine_limits

AT = datetime(2026, 1, 1, tzinfo=UTC)
ID = "22222222-2222-4222-8222-222222222222"
NAME, OTHER = f"tool-{ID}-g1", f"tool-{ID}-g7"
LIMITS, EDITED = engine_limits(Spec("nginx")), ContainerLimits(1 << 30, 1, 1)
CONTAINER = Container(
    id="c1",
    name=NAME,
    instance_id=ID,
    spec_generation=1,
    state="running",
    health=None,
    exit_code=0,
    oom_killed=False,
    error="",
    started_at="2025-12-31T23:59:50Z",
    finished_at="",
    restart_count=0,
    image="nginx",
    image_digest="",
    ports=[],
    environment_names=[],
    limits=LIMITS,
    endpoint_id="e1",
)
LISTED = ListedContainer("c1", NAME, ID, 1, "running", None, "e1")
INSTANCE = Instance(
    id=ID,
    toolbox_id="t",
    account="a",
    name="n",
    spec=Spec("nginx"),
    desired=Desired(DesiredState.RUNNING),
    created_at=AT,
    updated_at=AT,
    observed=Observed(CONTAINER, generation=1),
)
FAILED = replace(INSTANCE, observed=replace(INSTANCE.observed, failure=Failure(1, Reason("x", "y"))))


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [replace(LISTED, id="c2")],
        [replace(LISTED, state="exited")],
        [replace(LISTED, health="unhealthy")],
        [replace(LISTED, endpoint_id="e2")],
        [replace(LISTED, limits=EDITED)],
    ],
)
def test_settled_instance_whose_container_differs_is_changed(listed: list[ListedContainer]) -> None:
    assert compare([INSTANCE], listed) == Differences([ID], [])


def test_container_as_recorded_is_no_difference() -> None:
    assert compare([INSTANCE], [LISTED]) == Differences([], [])
    assert compare([INSTANCE], [replace(LISTED, limits=LIMITS)]) == Differences([], [])


def test_edited_limits_of_a_container_that_is_not_meant_to_run_are_left_alone() -> None:
    edited = [replace(LISTED, limits=EDITED)]
    stopped = replace(INSTANCE, desired=replace(INSTANCE.desired, state=DesiredState.STOPPED))
    assert compare([FAILED], edited) == compare([stopped], edited) == Differences([], [])


def test_unsettled_instance_is_not_compared() -> None:
    working = replace(INSTANCE, desired=replace(INSTANCE.desired, generation=2))
    assert compare([working], []) == Differences([], [], unsettled=True)


def test_instance_that_does_not_follow_its_accounts_suspension_is_changed() -> None:
    assert compare([INSTANCE], [LISTED], suspended=True).changed == [ID]


def test_container_of_no_known_version_is_an_orphan() -> None:
    orphan = replace(LISTED, name=OTHER, id="c7")
    assert compare([INSTANCE], [LISTED, orphan]) == Differences([], [orphan])
