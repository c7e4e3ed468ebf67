"""The worker is killed in the middle, and the account requests something else before another worker takes over.

The dead worker's last command is not in the stored document, so the next worker must not trust that document.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import pytest

from functions.domain.errors import NotAllowedNow, NotFound
from functions.domain.instance.model import DesiredState
from tests.faults import environment, outcome
from tests.faults.crashing_worker import CrashPoint
from tests.faults.environment import Environment
from tests.faults.operations import OPERATIONS
from tests.faults.reference_run import EVERY_VARIANT, READS, reference_run

FIRST = (
    "deploy",
    "start",
    "stop",
    "restart",
    "delete",
    "update",
    "update-stopped",
    "update-broken",
    "deploy-taken",
    "start-taken",
    "update-taken",
    "update-broken-taken",
)
CHANGES = ("create", "start", "stop", "restart", "remove")
EXPECTED_STATES: dict[DesiredState, tuple[list[str], ...]] = {
    DesiredState.RUNNING: (["running"],),
    DesiredState.STOPPED: (["exited"], ["created"]),
    DesiredState.DELETED: ([],),
}


def crash_points() -> list[tuple[str, CrashPoint]]:
    """After each change on the droplet, or with EVERY_VARIANT after each effect, before it is on record."""
    made = []
    for name in FIRST:
        effects = reference_run(name, False).effects
        for effect in range(effects.index("commit") + 1, len(effects) + 1):
            kind = effects[effect - 1]
            if kind in CHANGES or (EVERY_VARIANT and kind not in READS):
                made.append((name, CrashPoint(effect, "unacknowledged")))
    return made


@pytest.mark.parametrize(
    ("operation", "crash_point", "then"),
    [
        pytest.param(name, crash_point, then, id=f"{name}-{crash_point.effect:02}-{then}")
        for name, crash_point in crash_points()
        for then in ("start", "stop", "delete", "update")
    ],
)
def test_the_last_request_wins(
    operation: str, crash_point: CrashPoint, then: str, prepared: dict[str, Environment], tmp_path: Path
) -> None:
    env = environment.clone(prepared[operation], tmp_path / "environment")
    assert env.run_until_crash(operation, False, crash_point) == -signal.SIGKILL
    with suppress(NotAllowedNow, NotFound):
        OPERATIONS[then].ask(env.deps, None)
    env.sweep(1)
    env.sweep(60)
    outcome.check(env)
    states = [container.state for container in env.droplet.containers.values()]
    [instance] = outcome.all_instances(env)
    assert states in EXPECTED_STATES[instance.desired.state]
