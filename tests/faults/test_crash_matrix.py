"""Every operation, killed at each of its external effects: two sweeps later the request is fulfilled, or never was.

A case is named by operation, key, the effect's number and name, and the variant. To run one alone:

    tests/faults/all -k restart-key-05-restart-unacknowledged

TOOLBOXES_EVERY_VARIANT=1 (tests/faults/all) runs every variant, and kills at reads too; otherwise each effect is killed
once, the variants in turn.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.domain.instance.model import Instance
from tests.faults import environment, outcome
from tests.faults.crashing_worker import VARIANTS, CrashPoint
from tests.faults.environment import Environment
from tests.faults.operations import KEY, OPERATIONS, deliver, render
from tests.faults.reference_run import EVERY_VARIANT, READS, ReferenceRun, reference_run

# A command to the droplet can still be under way when its sender is dead.
SENT = ("status", "create", "inspect", "start", "stop", "restart", "remove", "logs", "request", "images", "pull")


def cases() -> Iterator[Any]:
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        for keyed in (False, True) if operation.takes_key else (False,):
            for effect, kind in enumerate(reference_run(name, keyed).effects, start=1):
                if kind in READS and not EVERY_VARIANT:
                    continue
                variants = VARIANTS if kind in SENT else VARIANTS[:3]
                for variant in variants if EVERY_VARIANT else [variants[(number + effect) % len(variants)]]:
                    case = f"{name}{'-key' * keyed}-{effect:02}-{kind}-{variant}"
                    yield pytest.param(name, keyed, CrashPoint(effect, variant), id=case)


@pytest.mark.parametrize(("operation", "keyed", "crash_point"), list(cases()))
def test_request_is_fulfilled_two_sweeps_after_its_worker_was_killed(
    operation: str, keyed: bool, crash_point: CrashPoint, prepared: dict[str, Environment], tmp_path: Path
) -> None:
    reference = reference_run(operation, keyed)
    env = environment.clone(prepared[operation], tmp_path / "environment")
    assert env.run_until_crash(operation, keyed, crash_point) == -signal.SIGKILL
    if OPERATIONS[operation].sent_again:
        OPERATIONS[operation].ask(env.deps, None)
    # The first sweep finds the dead worker's lease still held. A delayed command arrives just after the takeover.
    env.sweep(50 if crash_point.variant == "delayed" else 1)
    env.deliver_delayed()
    env.sweep(60)
    fulfilled = is_recorded(reference, crash_point) or not OPERATIONS[operation].takes_key
    require_outcome(env, operation, reference.after if fulfilled else reference.before)
    if keyed:
        require_replay(env, operation, reference)
    require_idle(env)


def require_outcome(env: Environment, operation: str, expected: outcome.Outcome) -> None:
    found = outcome.outcome(env)
    if OPERATIONS[operation].fails:
        found, expected = _without_attempts(found), _without_attempts(expected)
    assert found == expected
    outcome.check(env)


def _without_attempts(found: outcome.Outcome) -> outcome.Outcome:
    """Leave out what the next worker may repeat.

    A container that was restarted in vain has exited, and the next worker cannot know why, so it records a crash.
    """
    return replace(found, changes=[], events=[event for event in found.events if event[1] != "crashed"])


def is_recorded(reference: ReferenceRun, crash_point: CrashPoint) -> bool:
    """Whether the account's request was committed when the worker died: if so it is fulfilled, else it never was."""
    first = reference.effects.index("commit") + 1
    return crash_point.effect > first or (crash_point.effect == first and crash_point.variant != "before")


def require_replay(env: Environment, operation: str, reference: ReferenceRun) -> None:
    """The client received no answer and sends its request again, twice: nothing more happens, and it is answered."""
    for _ in range(2):
        OPERATIONS[operation].run(env.deps, env.queue, True)
        require_outcome(env, operation, reference.after)
    answer = OPERATIONS[operation].ask(env.deps, KEY)
    rendered = render(answer) if isinstance(answer, Instance) else answer
    [instance] = outcome.all_instances(env)
    assert rendered == (200, {"status": instance.status.value, "generation": instance.desired.generation})
    outcome.check(env)


def require_idle(env: Environment) -> None:
    """Later sweeps, and redelivered messages of the dead worker, find nothing to do."""
    env.sweep(60)
    calls = len(env.droplet.calls)
    env.sweep(700)
    deliver(env.deps, env.queue)
    assert {call.partition("?")[0] for call in env.droplet.calls[calls:]} == {"GET /status"}
