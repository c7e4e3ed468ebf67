"""The reconciler: makes the actual state match the desired state, for any kind of document.

    load the document and take its lease        (by the caller)
    decide: desired + observed -> plan          pure, in domain/
    run the plan's first step                   one call of a shim or of DigitalOcean's API
    fold what it observed into the document     pure, in domain/
    repeat until the plan is empty, then save and release the lease

The driver takes no input but the document: who asked for what, and why, is in there. A caller's request, a message of
the queue and the sweep all end here, so that a change made by any of them survives the worker that began it. What
differs between kinds of documents is a `Policy`: instances (instance.py) and toolboxes (toolbox.py).

The plan is decided again after every step instead of being executed as a whole: what a step observed may make the rest
of the old plan wrong, and a pass that starts in the middle, after a crash, then needs no code of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, Protocol

from functions.domain import lease
from functions.domain.errors import Contended, Unavailable
from functions.domain.instance.model import Reason
from functions.domain.plan import Plan, PlannedStep, S
from functions.lifecycle.dependencies import Dependencies, Task, Write
from functions.lifecycle.reconcile.lease import Draft, LeaseHolder, LeaseLost, Superseded
from functions.lifecycle.repository import ATTEMPTS, D, publish_or_leave_to_sweep, stamp

log = logging.getLogger(__name__)

# A step starts only with this much of its start-by time left; otherwise the lease is renewed first.
START_BY_LEFT = timedelta(seconds=10)
BACKOFF_FIRST, BACKOFF_LAST = timedelta(seconds=5), timedelta(minutes=10)
# How long a pass may take when the queue pushed it: Pub/Sub pushes an unanswered message again after 600 s.
PUSH_BUDGET = timedelta(seconds=540)


INTERNAL_ERROR = Reason(
    "internal-error", "An internal error interrupted the work. It is repeated with growing pauses; the log has details."
)


@dataclass(frozen=True, slots=True)
class PassOptions(Generic[D]):
    """How far one pass may go.

    until       no step starts after it
    allow_slow  whether slow steps run here; otherwise they are handed over to the queue's worker
    on_settled  makes writes for the commit that settles the document: the stored answer of an idempotent request
    """

    until: datetime
    allow_slow: bool = False
    on_settled: Callable[[D], Sequence[Write]] | None = None


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """How a waiting step is repeated: pauses double from `first` to `longest`, for `total` since it was first tried."""

    first: timedelta
    longest: timedelta
    total: timedelta


class Policy(Protocol[D, S]):
    """What the driver must know about one kind of document."""

    kind: str
    max_steps: int

    def begin(self, stored: D) -> D:
        """The document at the start of a pass: the last pass's obstacle is forgotten, so its step is tried again."""

    def after_lost_pass(self, stored: D, start_by: datetime) -> D:
        """The document as last saved, after a pass that may have sent a command since, with this start-by time."""

    def align(self, run: Pass[D, S], document: D) -> D:
        """Apply what other documents say of this one, such as its account's suspension, before each decision."""

    def decide(self, document: D) -> Plan[S]:
        """Plan the steps from the observed to the desired state."""

    def obstacle(self, document: D) -> Reason | None:
        """What stopped the last step and may pass with time."""

    def with_obstacle(self, document: D, reason: Reason) -> D:
        """The document with the reason that stopped its last step."""

    def hold_off(self, document: D) -> timedelta:
        """How long an effect must wait, since a command whose answer was lost may still start."""

    def wait_limits(self, step: S) -> WaitLimits:
        """How the waiting step is repeated, and for how long."""

    def after_wait(self, document: D, step: S) -> tuple[D, datetime | None]:
        """The document after a step that waited for its whole time, and when it is due again; None: by back-off."""

    def not_before(self, document: D) -> datetime | None:
        """A time before which nothing can be expected to succeed, e.g. from Retry-After."""

    def execute(self, run: Pass[D, S], document: D, step: S) -> D:
        """Run one step; the document with what it observed folded in, its error included."""

    def settle(self, document: D) -> tuple[D, Sequence[Write]]:
        """The document with its generation reached or given up, and the writes that belong to that."""

    def merge(self, stored: D, ours: D) -> D:
        """The desired state has changed in the store: join it with what this pass has observed."""

    def events(self, before: D, after: D, *, final: bool) -> Sequence[Write]:
        """The events between two states of the document; `final` where the pass ends with this commit."""

    def log_fields(self, document: D) -> dict[str, str]:
        """What a log line about the document names."""


@dataclass
class _Wait(Generic[S]):
    """The waiting step that is being repeated."""

    step: tuple[type, str] | None = None
    since: datetime | None = None
    times: int = 0

    def pause(self, step: S, limits: WaitLimits, now: datetime) -> timedelta | None:
        """How long to pause before `step`; None where it has been repeated for long enough."""
        key = (type(step), step.target)
        if self.since is None or key != self.step:
            self.step, self.since, self.times = key, now, 0
            return timedelta(0)
        if now - self.since >= limits.total:
            return None
        self.times += 1
        doubled: timedelta = limits.first * 2 ** min(self.times, 8)
        return min(doubled, limits.longest)


@dataclass
class Pass(Generic[D, S]):
    """One worker's pass over one document whose lease it holds."""

    deps: Dependencies
    holder: LeaseHolder[D]
    policy: Policy[D, S]
    options: PassOptions[D]
    _wait: _Wait[S] = field(default_factory=_Wait)

    def run(self) -> D:
        """Work until nothing is left, an obstacle stops it, or the rest is handed over. The document as saved.

        Raises Unavailable; the next pass then observes what was done. Any other unexpected error is logged and becomes
        the obstacle `internal-error`: a bug, or an answer that no parser foresaw, would otherwise be an HTTP 500, which
        the queue repeats at once and for ever.
        """
        try:
            return self._run()
        except Unavailable:
            raise
        except Exception:
            log.exception("an unexpected error ended a pass", extra=self.policy.log_fields(self.holder.stored))
        try:
            return self._back_off_from_stored(INTERNAL_ERROR)
        except Unavailable:
            raise
        except Exception:
            # What cannot be saved either stays due: the sweep comes back to it once the lease has run out.
            log.exception("an unexpected error cannot be recorded", extra=self.policy.log_fields(self.holder.stored))
            return self.holder.stored

    def _back_off_from_stored(self, reason: Reason) -> D:
        """Back off with the document as last saved: what the pass has made of it since may be what is wrong."""
        try:
            for _ in range(ATTEMPTS):
                document = self.policy.after_lost_pass(self.holder.stored, self.start_by())
                try:
                    return self._back_off(self.policy.with_obstacle(document, reason))
                except Superseded:
                    continue
        except LeaseLost:
            return self.holder.stored
        raise Contended(f"{self.holder.stored.id} could not be saved: its desired state changed at every attempt")

    def _run(self) -> D:
        document = self.policy.begin(self.holder.stored)
        previous: S | None = None
        try:
            for _ in range(self.policy.max_steps):
                try:
                    document = self.policy.align(self, document)
                    plan = self.policy.decide(document)
                    if not plan.steps:
                        return self._settle(document)
                    if self.policy.obstacle(document):
                        return self._back_off(document)
                    step = plan.steps[0]
                    if step == previous and not step.waits and not step.resumable:
                        # The step ran, and the new plan begins with it again. Repeating it at once would loop.
                        reason = Reason("no-effect", f"{step.verb} {step.target} had no effect")
                        return self._back_off(self.policy.with_obstacle(document, reason))
                    if (pause := self._pause_before(step, document)) is None:
                        return self._give_up_waiting(document, step)
                    if (step.slow and not self.options.allow_slow) or self.deps.now() + pause >= self.options.until:
                        return self._hand_over(document)
                    self.deps.pause(pause.total_seconds())
                    self._log(step, document)
                    document, previous = self.policy.execute(self, document, step), step
                except Superseded:
                    document = self.policy.merge(self.holder.stored, document)
            log.error("no end after %d steps", self.policy.max_steps, extra=self.policy.log_fields(document))
            reason = Reason("no-end", f"the plan was not finished within {self.policy.max_steps} steps")
            for _ in range(ATTEMPTS):
                try:
                    return self._back_off(self.policy.with_obstacle(document, reason))
                except Superseded:
                    # The account has asked for something else meanwhile; the next pass begins with that.
                    document = self.policy.merge(self.holder.stored, document)
            raise Contended(f"{document.id} could not be saved: its desired state changed at every attempt")
        except LeaseLost:
            log.info("another worker took over", extra=self.policy.log_fields(document))
            return self.holder.stored

    # For policies.

    def lease_lasts(self) -> bool:
        """Whether the lease leaves enough time to begin another command."""
        return lease.start_by(self.holder.lease, self.deps.now()) >= self.deps.now() + START_BY_LEFT

    def start_by(self) -> datetime:
        """The fencing deadline of a command that is sent now."""
        return lease.start_by(self.holder.lease, self.deps.now())

    def save(self, document: D, writes: Sequence[Write] = ()) -> D:
        """Save in the middle of a pass, with the events so far: the next save compares with this one."""
        return self.save_with(lambda: (document, writes))

    def save_with(self, draft: Draft[D]) -> D:
        """Save as `save` does, with a document and writes that `draft` makes for each attempt."""

        def with_events() -> tuple[D, Sequence[Write]]:
            drafted: tuple[D, Sequence[Write]] = draft()
            after: D = stamp(self.deps, drafted[0])
            return after, [*drafted[1], *self.policy.events(self.holder.stored, after, final=False)]

        return self.holder.renew_with(with_events)

    # How a pass goes on, and ends.

    def _pause_before(self, step: S, document: D) -> timedelta | None:
        if not step.waits:
            return self.policy.hold_off(document)
        return self._wait.pause(step, self.policy.wait_limits(step), self.deps.now())

    def _settle(self, document: D) -> D:
        settled: tuple[D, Sequence[Write]] = self.policy.settle(document)
        final, writes = settled[0], list(settled[1])
        if self.options.on_settled:
            writes.extend(self.options.on_settled(stamp(self.deps, final)))
        return self._release(final, writes)

    def _give_up_waiting(self, document: D, step: S) -> D:
        waited: tuple[D, datetime | None] = self.policy.after_wait(document, step)
        if waited[1]:
            return self._release(replace(waited[0], due_at=waited[1]))
        return self._back_off(waited[0])

    def _back_off(self, document: D) -> D:
        """Release until 5 s, 10 s, ... 10 min later, each shortened at random by up to half, so that few coincide."""
        delay = min(BACKOFF_FIRST * 2 ** min(document.attempts, 10), BACKOFF_LAST) * (1 - self.deps.draw() / 2)
        now = self.deps.now()
        due = max(now + delay, self.policy.not_before(document) or now)
        return self._release(replace(document, due_at=due, attempts=document.attempts + 1))

    def _hand_over(self, document: D) -> D:
        """Release in a commit, then publish: a worker that gets the task earlier would find the lease taken."""
        released = self._release(replace(document, due_at=self.deps.now()))
        publish_or_leave_to_sweep(self.deps, Task(self.policy.kind, released.id))
        return released

    def _release(self, document: D, writes: Sequence[Write] = ()) -> D:
        after: D = stamp(self.deps, document)
        return self.holder.release(after, [*self.policy.events(self.holder.stored, after, final=True), *writes])

    def _log(self, step: PlannedStep, document: D) -> None:
        fields = {"target": step.target, "cause": step.cause}
        log.info("%s", step.verb, extra={**self.policy.log_fields(document), **fields})
