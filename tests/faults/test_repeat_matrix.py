"""Every step of a plan is idempotent: a worker may die after a command and before the commit that records it."""

from __future__ import annotations

import copy
from datetime import UTC, datetime

import pytest

from functions.adapters.toolbox_shim import ToolboxShim
from functions.domain.instance import steps
from functions.domain.instance.container import Port
from functions.domain.instance.spec import Spec
from tests.fakes.droplet import IMAGE, FakeDroplet
from tests.fakes.mcp_server import Server
from tests.faults.step_cases import STEP_CASES, PreparedStep, prepared

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PULLED = "registry.test/pulled:1"
PORT = Port(3000, 20_001)


@pytest.fixture
def droplet() -> FakeDroplet:
    droplet = FakeDroplet(now=lambda: NOW, mcp=Server(["a", "b"]))
    droplet.registry[PULLED] = None
    return droplet


def prepare(case: str, droplet: FakeDroplet) -> PreparedStep:
    return prepared(
        STEP_CASES[case],
        ToolboxShim(droplet),
        Spec(PULLED if case == "pull" else IMAGE, ports=[PORT], allocated=[PORT]),
        NOW,
    )


@pytest.mark.parametrize("case", STEP_CASES)
def test_running_a_step_twice_has_the_effect_of_running_it_once(case: str, droplet: FakeDroplet) -> None:
    step = prepare(case, droplet)
    first = step.run()
    state = copy.deepcopy((droplet.containers, droplet.images))
    assert step.run() == first
    assert (droplet.containers, droplet.images) == state


@pytest.mark.parametrize("case", STEP_CASES)
def test_repeating_a_step_whose_answer_was_lost_returns_the_same_result(case: str, droplet: FakeDroplet) -> None:
    """The sender of the first run died; the second run receives the result of both."""
    lost, expected = copy.deepcopy(droplet), prepare(case, droplet).run()
    step = prepare(case, lost)
    step.run()
    assert step.run() == expected
    assert (lost.containers, lost.images) == (droplet.containers, droplet.images)


def test_every_kind_of_step_has_a_case(droplet: FakeDroplet) -> None:
    kinds_with_case = {type(prepare(case, copy.deepcopy(droplet)).step) for case in STEP_CASES}
    kinds = {kind for kind in vars(steps).values() if isinstance(kind, type) and issubclass(kind, steps.Step)}
    assert kinds_with_case == kinds - {steps.Step}


def test_each_step_case_changes_what_it_is_expected_to_change(droplet: FakeDroplet) -> None:
    """Without this check two runs would also be equal if a step case did nothing."""
    changes = {}
    for case in STEP_CASES:
        own_droplet = copy.deepcopy(droplet)
        step = prepare(case, own_droplet)
        before = dict(own_droplet.containers), set(own_droplet.images)
        step.run()
        changes[case] = (own_droplet.containers, own_droplet.images) != before
    expected = {
        "pull",
        "create",
        "start",
        "start-again",
        "stop",
        "restart",
        "restart-stopped",
        "remove",
        "remove-running",
    }
    assert {case for case, changed in changes.items() if changed} == expected
