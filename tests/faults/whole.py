"""Each operation as it goes when nothing cuts it: what there is to be cut, and what it comes to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from tests.faults import outcome, place
from tests.faults.operations import OPERATIONS
from tests.faults.worker import CutDroplets, CutShim, Effects, through

# tests/faults/all sets it: every variant and not one of them in turn.
EVERY = os.environ.get("TOOLBOXES_EVERY_CUT") == "1"
READS = ("get", "query")


@dataclass(frozen=True)
class Whole:
    """An operation that nothing has cut: its effects by name, what stood before, and what it came to."""

    effects: list[str]
    before: outcome.Outcome
    after: outcome.Outcome


@cache
def whole(operation: str, keyed: bool) -> Whole:
    made = place.standing(operation)
    before, effects = outcome.outcome(made), Effects()
    shim, droplets = CutShim(made.droplet, effects), CutDroplets(made.digitalocean, effects)
    deps = through(made.deps, effects, shim, droplets)
    OPERATIONS[operation].run(deps, made.queue, keyed)
    outcome.check(made)
    return Whole(effects.names, before, outcome.outcome(made))
