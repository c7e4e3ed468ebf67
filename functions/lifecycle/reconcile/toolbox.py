"""The loop of converge.py for a toolbox and its droplet: decide, act, observe, save, until nothing is left to do.

Every act is preceded by a commit that says what is known so far, under a lease of full length; what came of one whose
answer was lost is found by looking.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from functions.domain import event, lease
from functions.domain.toolbox import observe as toolbox_observe
from functions.domain.toolbox.decide import decide
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.steps import AwaitEnrolment, CreateDroplet
from functions.lifecycle.dependencies import Dependencies, Write
from functions.lifecycle.reconcile.instance import BACKOFF_FIRST, BACKOFF_LAST, START_BY_LEFT
from functions.lifecycle.reconcile.lease import LeaseHolder, LeaseLost, Superseded, save, stamp
from functions.lifecycle.repository import decode, toolbox_event, toolbox_ref
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from functions.lifecycle.toolbox.execute import attempted, execute

log = logging.getLogger(__name__)

MAX_STEPS = 400
# How long one pass waits for what it waits for; then others may use the worker, and the sweep comes back to it.
WAITS_FOR = timedelta(seconds=60)
WAIT_FIRST, WAIT_LAST = timedelta(seconds=0.5), timedelta(seconds=5)
# A shim that enrols says so itself: its droplet is looked at only to see that it is still there.
ENROLMENT_EVERY = timedelta(seconds=60)


def run(deps: Dependencies, toolbox_id: str) -> None:
    """The queue's worker: what is due is taken up; then, where there is a shim to be asked, it is looked at."""
    current = decode(Toolbox, deps.store.get([toolbox_ref(toolbox_id)])[0])
    if current is None:
        return
    if current.value.due_at is None or not lease.is_free(current.value.lease, deps.now()):
        toolbox_inspect.inspect_loaded(deps, current)
        return
    held = save(deps, with_lease(deps, current.value), current, ())
    if held:
        _Pass(deps, LeaseHolder(deps, held)).run()
        toolbox_inspect.inspect(deps, toolbox_id)


def with_lease(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    """`toolbox` under a new lease of ours, due again should we die."""
    mine = lease.acquire(deps.new_id(), deps.now())
    return stamp(deps, replace(toolbox, lease=mine, due_at=mine.ends_at + lease.GRACE))


@dataclass
class _Pass:
    """`waited`: how long, since it last saw something new."""

    deps: Dependencies
    hold: LeaseHolder[Toolbox]
    waited: timedelta = timedelta(0)

    def run(self) -> None:
        toolbox: Toolbox | None = toolbox_observe.begin(self.hold.stored)
        try:
            for _ in range(MAX_STEPS):
                if toolbox is None:
                    return
                try:
                    toolbox = self._next(toolbox)
                except Superseded:
                    # What this worker has seen since can be seen again.
                    toolbox = toolbox_observe.begin(self.hold.stored)
            log.error("no end after %d steps", MAX_STEPS, extra={"toolbox": self.hold.stored.id})
        except LeaseLost:
            log.info("another worker took over", extra={"toolbox": self.hold.stored.id})

    def _next(self, toolbox: Toolbox) -> Toolbox | None:
        """The toolbox after the plan's first step; None where this pass is over."""
        deps, plan = self.deps, decide(toolbox)
        if not plan.steps:
            self._release(toolbox_observe.settle(toolbox, deps.now()))
            return None
        if toolbox.obstacle:
            self._back_off(toolbox)
            return None
        step, token = plan.steps[0], ""
        if isinstance(step, CreateDroplet):
            token = deps.new_id() + deps.new_id()
            toolbox = attempted(toolbox, step, token, deps.now())
        if not step.waits or toolbox != self.hold.stored or not self._lasts():
            toolbox = self._renew(toolbox)
        log.info("%s", step.verb, extra={"toolbox": toolbox.id, "target": step.target, "cause": step.cause})
        start_by = lease.start_by(self.hold.lease, deps.now())
        seen = execute(step, deps, toolbox, start_by, token, lambda: self._stay(toolbox))
        after = decide(seen)
        if not step.waits or seen.obstacle or after.steps[:1] != (step,):
            self.waited = timedelta(0)
            return seen
        if isinstance(step, AwaitEnrolment):
            self._release(replace(seen, due_at=deps.now() + ENROLMENT_EVERY))
            return None
        return self._waited(seen)

    def _waited(self, toolbox: Toolbox) -> Toolbox | None:
        if self.waited > WAITS_FOR:
            self._back_off(toolbox)
            return None
        pause = min(WAIT_FIRST + self.waited / 4, WAIT_LAST)
        self.deps.pause(pause.total_seconds())
        self.waited += pause
        return toolbox

    def _back_off(self, toolbox: Toolbox) -> None:
        """Only time may help: the next pass comes later and later, and not before the API said it may."""
        delay = min(BACKOFF_FIRST * 2 ** min(toolbox.attempts, 10), BACKOFF_LAST) * (1 - self.deps.draw() / 2)
        due = max(self.deps.now() + delay, toolbox.not_before or self.deps.now())
        self._release(replace(toolbox, due_at=due, attempts=toolbox.attempts + 1))

    def _stay(self, toolbox: Toolbox) -> None:
        """What takes long goes on; the lease is to last as long."""
        if not self._lasts():
            self._renew(toolbox)

    def _lasts(self) -> bool:
        return lease.start_by(self.hold.lease, self.deps.now()) >= self.deps.now() + START_BY_LEFT

    def _renew(self, toolbox: Toolbox) -> Toolbox:
        return self.hold.renew(toolbox, event_writes(self.deps, self.hold.stored, toolbox))

    def _release(self, toolbox: Toolbox) -> None:
        self.hold.release(toolbox, event_writes(self.deps, self.hold.stored, toolbox))


def event_writes(deps: Dependencies, before: Toolbox, after: Toolbox) -> Sequence[Write]:
    return [toolbox_event(after, one) for one in event.toolbox_events(before, after, deps.now())]
