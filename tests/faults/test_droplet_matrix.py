"""Provisioning, enrolment, rebuild, upgrade and deprovisioning, cut at every external effect by killing the worker.

In the end there is one droplet or none, as the account wished, and everything on it. A case is named as in
test_crash_matrix.py; TOOLBOXES_EVERY_CUT=1 (tests/faults/all) runs every variant.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import TOOLBOXES
from tests.faults import fleet_place
from tests.faults.fleet_place import FleetPlace, effects, end, finish, undisturbed
from tests.faults.toolbox_operations import TOOLBOX_OPERATIONS
from tests.faults.whole import EVERY, READS
from tests.faults.worker import VARIANTS, Cut

# The API's own reads, which change nothing for being repeated.
SIGHTS = ("droplet get", "droplet named", "droplet tagged")


def cases() -> Iterator[Any]:
    for number, name in enumerate(TOOLBOX_OPERATIONS):
        for effect, kind in enumerate(effects(name), start=1):
            if kind in READS + SIGHTS and not EVERY:
                continue
            variants = VARIANTS[:3] if kind in (*READS, "commit", "publish") else VARIANTS
            for variant in variants if EVERY else [variants[(number + effect) % len(variants)]]:
                yield pytest.param(name, Cut(effect, variant), id=f"{name}-{effect:02}-{kind}-{variant}")


@pytest.fixture(scope="session")
def stands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FleetPlace]:
    return {name: fleet_place.standing(name, tmp_path_factory.mktemp(name)) for name in TOOLBOX_OPERATIONS}


@pytest.mark.parametrize(("operation", "cut"), list(cases()))
def test_some_minutes_after_its_worker_was_killed(
    operation: str, cut: Cut, stands: dict[str, FleetPlace], tmp_path: Path
) -> None:
    ours = fleet_place.copied(stands[operation], tmp_path / "place")
    assert ours.cut(operation, False, cut) == -signal.SIGKILL
    if cut.variant == "late":
        # No connection keeps a request for longer than the client would have waited for its answer.
        ours.clock.pause(20)
        ours.arrive_late()
    if not intended(operation, cut):
        came_to_nothing(ours, operation)
        TOOLBOX_OPERATIONS[operation].run(ours.deps, ours.queue, False)
    finish(ours)
    assert end(ours) == undisturbed(operation)
    rests(ours)


def intended(operation: str, cut: Cut) -> bool:
    """Whether the account's wish was on record when the worker died."""
    first = effects(operation).index("commit") + 1
    return cut.effect > first or (cut.effect == first and cut.variant != "before")


def came_to_nothing(ours: FleetPlace, operation: str) -> None:
    if operation == "provision":
        assert ours.store.query(Query(TOOLBOXES)) == []
        assert ours.digitalocean.calls == []


def rests(ours: FleetPlace) -> None:
    """Later sweeps find nothing to do, and ask the API for nothing."""
    calls = len(ours.digitalocean.calls)
    ours.sweep(700)
    ours.sweep(60)
    assert ours.digitalocean.calls[calls:] == []
