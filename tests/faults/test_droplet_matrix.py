"""Provisioning, enrolment, rebuild, upgrade and deprovisioning, each killed at every external effect.

In the end there is one droplet or none, as the account requested, with everything on it. Cases are named as in
test_crash_matrix.py; TOOLBOXES_EVERY_VARIANT=1 (tests/faults/all) runs every variant.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.lifecycle.dependencies import Query
from functions.lifecycle.repository import TOOLBOXES
from tests.faults import fleet_environment
from tests.faults.crashing_worker import VARIANTS, CrashPoint
from tests.faults.fleet_environment import FleetEnvironment, effects, final_state, finish, reference_state
from tests.faults.reference_run import EVERY_VARIANT, READS
from tests.faults.toolbox_operations import TOOLBOX_OPERATIONS

# Reads of DigitalOcean's API, which change nothing when they are repeated.
API_READS = ("droplet get", "droplet named", "droplet tagged")


def cases() -> Iterator[Any]:
    for number, name in enumerate(TOOLBOX_OPERATIONS):
        for effect, kind in enumerate(effects(name), start=1):
            if kind in READS + API_READS and not EVERY_VARIANT:
                continue
            variants = VARIANTS[:3] if kind in (*READS, "commit", "publish") else VARIANTS
            for variant in variants if EVERY_VARIANT else [variants[(number + effect) % len(variants)]]:
                yield pytest.param(name, CrashPoint(effect, variant), id=f"{name}-{effect:02}-{kind}-{variant}")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FleetEnvironment]:
    """The environment of each operation; a test works on a clone."""
    return {name: fleet_environment.prepare(name, tmp_path_factory.mktemp(name)) for name in TOOLBOX_OPERATIONS}


@pytest.mark.parametrize(("operation", "crash_point"), list(cases()))
def test_operation_completes_after_its_worker_was_killed(
    operation: str, crash_point: CrashPoint, prepared: dict[str, FleetEnvironment], tmp_path: Path
) -> None:
    env = fleet_environment.clone(prepared[operation], tmp_path / "environment")
    assert env.run_until_crash(operation, False, crash_point) == -signal.SIGKILL
    if crash_point.variant == "delayed":
        # No connection delays a request for longer than the client would have waited for its answer.
        env.clock.pause(20)
        env.deliver_delayed()
    if not is_recorded(operation, crash_point):
        require_no_trace(env, operation)
        TOOLBOX_OPERATIONS[operation].run(env.deps, env.queue, False)
    finish(env)
    assert final_state(env) == reference_state(operation)
    require_idle(env)


def is_recorded(operation: str, crash_point: CrashPoint) -> bool:
    """Whether the account's request was committed when the worker died."""
    first = effects(operation).index("commit") + 1
    return crash_point.effect > first or (crash_point.effect == first and crash_point.variant != "before")


def require_no_trace(env: FleetEnvironment, operation: str) -> None:
    if operation == "provision":
        assert env.store.query(Query(TOOLBOXES)) == []
        assert env.digitalocean.calls == []


def require_idle(env: FleetEnvironment) -> None:
    """Later sweeps find nothing to do and call DigitalOcean's API only for the list that finds orphan droplets."""
    calls = len(env.digitalocean.calls)
    env.sweep(700)
    env.sweep(60)
    assert [call for call in env.digitalocean.calls[calls:] if call != "list_by_tag"] == []
