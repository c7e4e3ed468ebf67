"""Every step of a plan, run twice, leaves what one run leaves: a worker may die between its act and its record."""

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
from tests.faults.step_cases import SCENES, Stage, staged

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PULLED = "registry.test/pulled:1"
PORT = Port(3000, 20_001)


@pytest.fixture
def droplet() -> FakeDroplet:
    made = FakeDroplet(now=lambda: NOW, mcp=Server(["a", "b"]))
    made.registry[PULLED] = None
    return made


def stage(scene: str, droplet: FakeDroplet) -> Stage:
    return staged(
        SCENES[scene],
        ToolboxShim(droplet),
        Spec(PULLED if scene == "pull" else IMAGE, ports=[PORT], allocated=[PORT]),
        NOW,
    )


@pytest.mark.parametrize("scene", SCENES)
def test_a_step_that_is_run_twice_leaves_what_one_run_leaves(scene: str, droplet: FakeDroplet) -> None:
    ready = stage(scene, droplet)
    first = ready.run()
    state = copy.deepcopy((droplet.containers, droplet.images))
    assert ready.run() == first
    assert (droplet.containers, droplet.images) == state


@pytest.mark.parametrize("scene", SCENES)
def test_a_step_whose_answer_was_lost_leaves_what_one_run_leaves(scene: str, droplet: FakeDroplet) -> None:
    """The first run's sender is gone; the second one's is told what came of both."""
    lost, heard = copy.deepcopy(droplet), stage(scene, droplet).run()
    ready = stage(scene, lost)
    ready.run()
    assert ready.run() == heard
    assert (lost.containers, lost.images) == (droplet.containers, droplet.images)


def test_every_step_has_its_scene(droplet: FakeDroplet) -> None:
    staged_kinds = {type(stage(scene, copy.deepcopy(droplet)).step) for scene in SCENES}
    kinds = {kind for kind in vars(steps).values() if isinstance(kind, type) and issubclass(kind, steps.Step)}
    assert staged_kinds == kinds - {steps.Step}


def test_a_scene_does_what_its_step_says(droplet: FakeDroplet) -> None:
    """So that two runs are not alike for want of any."""
    done = {}
    for scene in SCENES:
        fresh = copy.deepcopy(droplet)
        ready = stage(scene, fresh)
        before = dict(fresh.containers), set(fresh.images)
        ready.run()
        done[scene] = (fresh.containers, fresh.images) != before
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
    assert {scene for scene, changed in done.items() if changed} == expected
