"""Every operation, cut at every external effect by killing its worker: two sweeps later all is as was asked for.

A case is named by operation, key, the effect's number and name, and the variant; to see one alone:

    tests/faults/all -k restart-key-05-restart-unheard

TOOLBOXES_EVERY_CUT=1 (tests/faults/all) runs every variant, and cuts at reads too; otherwise each effect is cut once,
the variants in turn.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions.domain.instance.model import Instance
from tests.faults import outcome, place
from tests.faults.operations import OPERATIONS, deliver, replay
from tests.faults.place import Place
from tests.faults.whole import EVERY, READS, Whole, whole
from tests.faults.worker import VARIANTS, Cut

# What goes to the droplet can be on its way when its sender is gone.
SENT = ("status", "create", "inspect", "start", "stop", "restart", "remove", "logs", "request", "prune", "pull")


def cases() -> Iterator[Any]:
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        for keyed in (False, True) if operation.takes_key else (False,):
            for effect, kind in enumerate(whole(name, keyed).effects, start=1):
                if kind in READS and not EVERY:
                    continue
                variants = VARIANTS if kind in SENT else VARIANTS[:3]
                for variant in variants if EVERY else [variants[(number + effect) % len(variants)]]:
                    cut = Cut(effect, variant)
                    told = f"{name}{'-key' * keyed}-{effect:02}-{kind}-{variant}"
                    yield pytest.param(name, keyed, cut, id=told)


@pytest.mark.parametrize(("operation", "keyed", "cut"), list(cases()))
def test_two_sweeps_after_its_worker_was_killed(
    operation: str, keyed: bool, cut: Cut, stands: dict[str, Place], tmp_path: Path
) -> None:
    known = whole(operation, keyed)
    ours = place.copied(stands[operation], tmp_path / "place")
    assert ours.cut(operation, keyed, cut) == -signal.SIGKILL
    if OPERATIONS[operation].sent_again:
        OPERATIONS[operation].ask(ours.deps, None)
    # The first one finds the dead worker's lease still held; what is late comes just after it has been taken over.
    ours.sweep(50 if cut.variant == "late" else 1)
    ours.arrive_late()
    ours.sweep(60)
    expected = known.after if intended(known, cut) or not OPERATIONS[operation].takes_key else known.before
    came_to(ours, operation, expected)
    if keyed:
        asked_again(ours, operation, known)
    rests(ours)


def came_to(ours: Place, operation: str, expected: outcome.Outcome) -> None:
    seen = outcome.outcome(ours)
    if OPERATIONS[operation].fails:
        seen, expected = _ends(seen), _ends(expected)
    assert seen == expected
    outcome.check(ours)


def _ends(seen: outcome.Outcome) -> outcome.Outcome:
    """Without what may be done once more. What was restarted in vain has ended, and who comes next cannot know why."""
    return replace(seen, acts=[], told=[told for told in seen.told if told[1] != "crashed"])


def intended(known: Whole, cut: Cut) -> bool:
    """Whether the account's wish was on record when the worker died: then it is kept, otherwise nothing was done."""
    first = known.effects.index("commit") + 1
    return cut.effect > first or (cut.effect == first and cut.variant != "before")


def asked_again(ours: Place, operation: str, known: Whole) -> None:
    """The client heard nothing and sends its request once more, then yet again."""
    for _ in range(2):
        OPERATIONS[operation].run(ours.deps, ours.queue, True)
        came_to(ours, operation, known.after)
    again = OPERATIONS[operation].ask(ours.deps, replay())
    said = replay().render(again) if isinstance(again, Instance) else again
    [instance] = outcome.all_instances(ours)
    assert said == (200, {"status": instance.status.value, "generation": instance.desired.generation})
    outcome.check(ours)


def rests(ours: Place) -> None:
    """Later sweeps, and the messages of the dead worker once they are delivered again, find nothing to do."""
    ours.sweep(60)
    calls = len(ours.droplet.calls)
    ours.sweep(700)
    deliver(ours.deps, ours.queue)
    assert {call.partition("?")[0] for call in ours.droplet.calls[calls:]} == {"GET /status"}
