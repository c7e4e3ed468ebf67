"""Each operation without a crash: the effects at which a worker can die, and the outcome to compare with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from tests.faults import environment, outcome
from tests.faults.crashing_worker import CrashingDroplets, CrashingShim, Effects, with_effects
from tests.faults.operations import OPERATIONS

# Set by tests/faults/all: every variant at each effect, where the usual run takes one variant in turn.
EVERY_VARIANT = os.environ.get("TOOLBOXES_EVERY_VARIANT") == "1"
READS = ("get", "query")


@dataclass(frozen=True)
class ReferenceRun:
    """The names of the effects in their order, and the outcome before the operation and after it."""

    effects: list[str]
    before: outcome.Outcome
    after: outcome.Outcome


@cache
def reference_run(operation: str, keyed: bool) -> ReferenceRun:
    """Run the operation without a crash, with or without an idempotency key."""
    env = environment.prepare(operation)
    before, effects = outcome.outcome(env), Effects()
    shim, droplets = CrashingShim(env.droplet, effects), CrashingDroplets(env.digitalocean, effects)
    OPERATIONS[operation].run(with_effects(env.deps, effects, shim, droplets), env.queue, keyed)
    outcome.check(env)
    return ReferenceRun(effects.names, before, outcome.outcome(env))
