"""The one loop: decide, act, observe, save, for one instance, until nothing is left to do.

It takes no input but the document: who asked and why is in there. A caller's request, a queue's message and the
sweep all end here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from functions.domain import event, lease
from functions.domain.errors import Unavailable
from functions.domain.instance.decide import decide
from functions.domain.instance.image import PullProgress
from functions.domain.instance.model import DesiredState, Instance, Reason, mark_for_inspection
from functions.domain.instance.request import request_suspension
from functions.domain.instance.steps import PullImage, ReallocatePorts, RecordPostMortem, RollBack, Step
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Task, Write
from functions.lifecycle.idempotency import Replay
from functions.lifecycle.instance import capacity
from functions.lifecycle.instance.execute import execute
from functions.lifecycle.instance.settle import settle
from functions.lifecycle.reconcile.lease import LeaseHolder, LeaseLost, Superseded, save, stamp
from functions.lifecycle.repository import Loaded, decode, instance_event, instance_ref, toolbox_ref
from functions.lifecycle.toolbox import teardown

log = logging.getLogger(__name__)

MAX_STEPS = 40
PROGRESS_EVERY = timedelta(seconds=5)
# A step is begun only with this much of its start-by time left; otherwise the lease is renewed first.
START_BY_LEFT = timedelta(seconds=10)
BACKOFF_FIRST, BACKOFF_LAST = timedelta(seconds=5), timedelta(minutes=10)
# How long one pass waits for a container to become healthy or to answer; then others may use the worker.
WAITS_FOR = timedelta(seconds=20)
WAIT_FIRST_SECONDS, WAIT_LAST_SECONDS = 0.1, 2.0
PUSH_BUDGET = timedelta(seconds=540)


@dataclass(frozen=True, slots=True)
class PassOptions:
    """No step is begun after `until`; slow ones only where `slow` allows. `replay` takes the answer, where wanted."""

    until: datetime
    slow: bool = False
    replay: Replay[Instance] | None = None


@dataclass
class _Wait:
    """The step that is being repeated until what it asks for is there."""

    step: Step | None = None
    since: datetime | None = None
    times: int = 0

    def seconds(self, step: Step, now: datetime) -> float | None:
        """How long to pause before `step`; None when it was repeated for long enough."""
        if self.since is None or type(step) is not type(self.step):
            self.step, self.since, self.times = step, now, 0
            return 0.0
        self.times += 1
        if now - self.since > WAITS_FOR:
            return None
        return float(min(WAIT_FIRST_SECONDS * 2 ** min(self.times, 8), WAIT_LAST_SECONDS))


@dataclass
class _Pass:
    deps: Dependencies
    hold: LeaseHolder[Instance]
    toolbox: Toolbox
    errand: PassOptions
    wait: _Wait = field(default_factory=_Wait)

    def run(self, instance: Instance) -> Instance:
        done: Step | None = None
        for _ in range(MAX_STEPS):
            try:
                if (
                    instance.suspended is not self.toolbox.suspended
                    and instance.target_state is not DesiredState.DELETED
                ):
                    instance = self._align(instance)
                plan = decide(instance)
                if not plan.steps:
                    return self._settle(instance)
                if instance.observed.obstacle:
                    return self._back_off(instance)
                step, now = plan.steps[0], self.deps.now()
                if step == done and not step.waits:
                    # It was done, and what was seen then asks for it again: only time can tell why.
                    instance = _troubled(instance, Reason("no-effect", f"{step.verb} {step.container} had no effect"))
                    continue
                pause = self.wait.seconds(step, now) if step.waits else _lingering(instance, now)
                if pause is None:
                    instance = _troubled(instance, Reason("not-ready", step.cause))
                    continue
                if (step.slow and not self.errand.slow) or now + timedelta(seconds=pause) >= self.errand.until:
                    return self._hand_on(instance)
                self.deps.pause(pause)
                instance, done = self._step(instance, step), step
            except Superseded:
                instance = _taken_up(self.hold.stored, instance)
                self._reload()
        log.error("no end after %d steps", MAX_STEPS, extra={"instance": instance.id, "plan": str(decide(instance))})
        return self._back_off(_troubled(instance, Reason("no-end", "the plan did not come to an end")))

    def _align(self, instance: Instance) -> Instance:
        """Its toolbox has been told that the account is suspended, or no longer is."""
        suspended, now = self.toolbox.suspended, self.deps.now()
        after = stamp(self.deps, request_suspension(instance, suspended))
        told = event.requested(instance, after, "suspend" if suspended else "resume", event.BACKEND, now)
        return self.hold.renew(after, [instance_event(after, told)])

    def _reload(self) -> None:
        """Its droplet may be another one by now, and what is begun on the one before would be lost with it."""
        found = decode(Toolbox, self.deps.store.get([toolbox_ref(self.toolbox.id)])[0])
        self.toolbox = found.value if found else self.toolbox

    def _step(self, instance: Instance, step: Step) -> Instance:
        deps, hold = self.deps, self.hold
        if step.slow or lease.start_by(hold.lease, deps.now()) < deps.now() + START_BY_LEFT:
            instance = hold.renew(instance)
            self._reload()
        log.info("%s", step.verb, extra={"instance": instance.id, "toolbox": self.toolbox.id, "cause": step.cause})
        if isinstance(step, PullImage) and capacity.disk_is_short(self.toolbox.metrics):
            capacity.prune(deps, self.toolbox)
        shown, shim = deps.now(), deps.shims.of(self.toolbox)

        def on_progress(progress: PullProgress) -> None:
            nonlocal instance, shown
            if deps.now() - shown >= PROGRESS_EVERY:
                shown = deps.now()
                instance = hold.renew(replace(instance, observed=replace(instance.observed, progress=progress)))

        start_by = lease.start_by(hold.lease, deps.now())
        if isinstance(step, ReallocatePorts):
            return hold.renew_drafted(lambda: self._told(*execute(step, shim, instance, start_by, deps, on_progress)))
        seen, writes = execute(step, shim, instance, start_by, deps, on_progress)
        if isinstance(step, RecordPostMortem | RollBack):
            # On record before the container is gone: nothing could fetch it again.
            return hold.renew(*self._told(seen, writes))
        # Progress may have been saved meanwhile, under a later lease.
        return replace(seen, lease=instance.lease, revision=instance.revision)

    def _told(self, instance: Instance, writes: Sequence[Write]) -> tuple[Instance, list[Write]]:
        """As it is to be saved in the middle of a pass, and what is told with that."""
        after = stamp(self.deps, instance)
        told = event.interim_events(self.hold.stored, after, self.deps.now())
        return after, [*writes, *(instance_event(after, one) for one in told)]

    def _settle(self, instance: Instance) -> Instance:
        final, writes = settle(instance, self.deps.now())
        replaced = instance.previous_version.spec.image if instance.previous_version else final.spec.image
        if final.previous_version is None and final.spec == instance.spec and replaced != final.spec.image:
            # While the instance still is due: a worker that dies here is followed by one that does it.
            capacity.prune(self.deps, self.toolbox, settling=final)
        if self.errand.replay:
            writes = [*writes, self.errand.replay.answered(stamp(self.deps, final))]
        return self._release(final, writes)

    def _back_off(self, instance: Instance) -> Instance:
        """Only time may help: again after 5 s, 10 s, ... 10 min, each up to a half earlier so that many do not meet."""
        delay = min(BACKOFF_FIRST * 2 ** min(instance.attempts, 10), BACKOFF_LAST) * (1 - self.deps.draw() / 2)
        due = self.deps.now() + delay
        return self._release(replace(instance, due_at=due, attempts=instance.attempts + 1))

    def _hand_on(self, instance: Instance) -> Instance:
        """Let go in a commit, then publish: a worker that hears of it earlier would find the lease held."""
        released = self._release(replace(instance, due_at=self.deps.now()))
        try:
            self.deps.queue.publish([Task("instance", released.id)])
        except Unavailable:
            # The document says that it is due, and the sweep reads that: it costs time, nothing else.
            log.warning("handing on was not confirmed", extra={"instance": released.id}, exc_info=True)
        return released

    def _release(self, instance: Instance, writes: Sequence[Write] = ()) -> Instance:
        before, after = self.hold.stored, stamp(self.deps, instance)
        events = [instance_event(after, told) for told in event.instance_events(before, after, self.deps.now())]
        return self.hold.release(after, [*events, *writes])


def converge(deps: Dependencies, hold: LeaseHolder[Instance], toolbox: Toolbox, errand: PassOptions) -> Instance:
    """Work on the held instance until nothing is left, an obstacle stops it, or the errand hands it on.

    Returns the instance as saved. Raises Unavailable; what was done is then found by the next pass.
    """
    # What was an obstacle to the last pass is to be met anew.
    instance = replace(hold.stored, observed=replace(hold.stored.observed, obstacle=None))
    try:
        return _Pass(deps, hold, toolbox, errand).run(instance)
    except LeaseLost:
        log.info("another worker took over", extra={"instance": instance.id})
        return hold.stored


def run(deps: Dependencies, task: Task, *, look: bool = False) -> None:
    """The queue's worker: take what is due, or with `look` whatever there is, unless somebody holds it.

    Returning means: the message is done with.
    """
    current = decode(Instance, deps.store.get([instance_ref(task.id)])[0])
    if current is None or not lease.is_free(current.value.lease, deps.now()):
        return
    if current.value.due_at is None and not look:
        return
    held = save(deps, with_lease(deps, mark_for_inspection(current.value) if look else current.value), current, ())
    if held:
        run_leased(deps, held)


def run_leased(deps: Dependencies, held: Loaded[Instance]) -> None:
    """A worker's pass on an instance whose lease it has just taken."""
    toolbox = decode(Toolbox, deps.store.get([toolbox_ref(held.value.toolbox_id)])[0])
    if toolbox and toolbox.value.deprovisioned_at:
        # Its deploy was under way when the toolbox was given up: there is no droplet for it any more.
        teardown.end_instance(deps, held)
    elif toolbox:
        converge(deps, LeaseHolder(deps, held), toolbox.value, PassOptions(deps.now() + PUSH_BUDGET, slow=True))


def with_lease(deps: Dependencies, instance: Instance) -> Instance:
    """`instance` under a new lease of ours, due again should we die."""
    mine = lease.acquire(deps.new_id(), deps.now())
    # A lease that was never let go: its holder died, and what it did last is on no record.
    current = mark_for_inspection(instance) if instance.lease else instance
    return stamp(deps, replace(current, lease=mine, due_at=mine.ends_at + lease.GRACE))


def _lingering(instance: Instance, now: datetime) -> float:
    """Seconds until whatever was sent before, by whomever, can begin no more."""
    until = instance.observed.in_flight_until
    return max(0.0, (until - now).total_seconds()) if until else 0.0


def _troubled(instance: Instance, reason: Reason) -> Instance:
    return replace(instance, observed=replace(instance.observed, obstacle=reason))


def _taken_up(current: Instance, ours: Instance) -> Instance:
    """The account's new wish with what this worker has seen. Only the lease's holder writes what is observed."""
    if current.desired.spec_generation == ours.desired.spec_generation:
        return replace(current, observed=ours.observed)
    # A new spec moved what was the container to `previous`; what was seen since is of that one.
    previous, doubt = ours.observed.container, ours.observed.needs_inspection or not ours.observed.container
    observed = replace(current.observed, previous=previous, previous_needs_inspection=doubt, needs_inspection=True)
    return replace(current, observed=replace(observed, in_flight_until=ours.observed.in_flight_until))
