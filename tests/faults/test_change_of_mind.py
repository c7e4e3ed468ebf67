"""The worker was killed in the middle, and the account asks for something else before anybody has taken over.

What the dead worker did last is on no record, so the next one must not believe the record.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

import pytest

from functions.domain.errors import NotAllowedNow, NotFound
from functions.domain.instance.model import DesiredState
from tests.faults import outcome, place
from tests.faults.operations import OPERATIONS
from tests.faults.place import Place
from tests.faults.whole import EVERY, READS, whole
from tests.faults.worker import Cut

FIRST = ("deploy", "start", "stop", "restart", "delete", "update", "update-stopped", "update-broken", "deploy-taken",
         "start-taken", "update-taken", "update-broken-taken")  # fmt: skip
ACTS = ("create", "start", "stop", "restart", "remove")
STANDS = {
    DesiredState.RUNNING: [["running"]],
    DesiredState.STOPPED: [["exited"], ["created"]],
    DesiredState.DELETED: [[]],
}


def cuts() -> list[tuple[str, Cut]]:
    """After each act on the droplet, and with EVERY after each effect, that whoever comes next cannot know of."""
    made = []
    for name in FIRST:
        effects = whole(name, False).effects
        for effect in range(effects.index("commit") + 1, len(effects) + 1):
            kind = effects[effect - 1]
            if kind in ACTS or (EVERY and kind not in READS):
                made.append((name, Cut(effect, "unheard")))
    return made


@pytest.mark.parametrize(
    ("operation", "cut", "then"),
    [
        pytest.param(name, cut, then, id=f"{name}-{cut.effect:02}-{then}")
        for name, cut in cuts()
        for then in ("start", "stop", "delete", "update")
    ],
)
def test_the_last_wish_holds(operation: str, cut: Cut, then: str, stands: dict[str, Place], tmp_path: Path) -> None:
    ours = place.copied(stands[operation], tmp_path / "place")
    assert ours.cut(operation, False, cut) == -signal.SIGKILL
    with suppress(NotAllowedNow, NotFound):
        OPERATIONS[then].ask(ours.deps, None)
    ours.sweep(1)
    ours.sweep(60)
    outcome.check(ours)
    states = [container.state for container in ours.droplet.containers.values()]
    [instance] = outcome.all_instances(ours)
    assert states in STANDS[instance.desired.state]
