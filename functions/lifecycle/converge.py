"""The one loop: decide, act, observe, save, for one instance, until nothing is left to do.

It takes no input but the document: who asked and why is in there. A caller's request, a queue's message and the
sweep all end here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain import event, lease, observe
from functions.domain.decide import decide
from functions.domain.errors import Unavailable
from functions.domain.instance import DesiredState, Instance
from functions.domain.plan import Step
from functions.domain.toolbox import Toolbox
from functions.lifecycle.documents import claims, instance_ref, load, recording, toolbox_ref
from functions.lifecycle.execute import execute
from functions.lifecycle.hold import Hold, LeaseLost, Superseded, stamped, write
from functions.lifecycle.ports import Delete, Ports, Task, Write
from shim.protocol import messages

log = logging.getLogger(__name__)

MAX_STEPS = 24
TOMBSTONE = timedelta(days=30)
PROGRESS_EVERY = timedelta(seconds=5)
# A step is begun only with this much of its start-by time left; otherwise the lease is renewed first.
START_BY_LEFT = timedelta(seconds=10)
BACKOFF_FIRST, BACKOFF_LAST = timedelta(seconds=5), timedelta(minutes=10)
PUSH_BUDGET = timedelta(seconds=540)


@dataclass(frozen=True, slots=True)
class Budget:
    """No step is begun after `until`; slow ones only where `slow` allows."""

    until: datetime
    slow: bool


def converge(ports: Ports, hold: Hold, toolbox: Toolbox, budget: Budget) -> Instance:
    """Work on the held instance until nothing is left, an obstacle stops it, or the budget hands it on.

    Returns the instance as saved. Raises Unavailable; what was done is then found by the next pass.
    """
    passing = replace(hold.stored.observed, trouble=None)
    instance = replace(hold.stored, observed=passing)
    try:
        for _ in range(MAX_STEPS):
            try:
                plan = decide(instance)
                if not plan.steps:
                    return _settle(ports, hold, instance)
                if instance.observed.trouble:
                    return _back_off(ports, hold, instance)
                step = plan.steps[0]
                if (step.slow and not budget.slow) or ports.now() >= budget.until:
                    return _hand_on(ports, hold, instance)
                instance = _step(ports, hold, toolbox, instance, step)
            except Superseded as news:
                instance = replace(news.current, observed=instance.observed)
        log.error("no end after %d steps", MAX_STEPS, extra={"instance": instance.id, "plan": str(decide(instance))})
        return _back_off(ports, hold, instance)
    except LeaseLost as lost:
        log.info("another worker took over", extra={"instance": instance.id})
        return lost.current


def run(ports: Ports, task: Task) -> None:
    """The queue's worker: take what is due and nobody holds. Returning means: the message is done with."""
    current = load(Instance, ports.store.get([instance_ref(task.id)])[0])
    if current is None or current.value.due_at is None or not lease.is_free(current.value.lease, ports.now()):
        return
    toolbox = load(Toolbox, ports.store.get([toolbox_ref(current.value.toolbox_id)])[0])
    held = write(ports, claimed(ports, current.value), current, ())
    if held and toolbox:
        converge(ports, Hold(ports, held), toolbox.value, Budget(ports.now() + PUSH_BUDGET, slow=True))


def claimed(ports: Ports, instance: Instance) -> Instance:
    """`instance` under a new lease of ours, due again should we die."""
    mine = lease.taken(ports.new_id(), ports.now())
    return stamped(ports, replace(instance, lease=mine, due_at=mine.ends_at + lease.GRACE))


def _step(ports: Ports, hold: Hold, toolbox: Toolbox, instance: Instance, step: Step) -> Instance:
    if step.slow or lease.start_by(hold.lease, ports.now()) < ports.now() + START_BY_LEFT:
        instance = hold.renew(instance)
    log.info("%s", step.verb, extra={"instance": instance.id, "toolbox": toolbox.id, "cause": step.cause})
    shown = ports.now()

    def on_progress(progress: messages.Progress) -> None:
        nonlocal instance, shown
        if ports.now() - shown >= PROGRESS_EVERY:
            shown = ports.now()
            instance = hold.renew(replace(instance, observed=replace(instance.observed, progress=progress)))

    observed = execute(
        step,
        ports.shims.of(toolbox),
        instance.observed,
        start_by=lease.start_by(hold.lease, ports.now()),
        now=ports.now,
        on_progress=on_progress,
    )
    return observe.concluded(instance, observed)


def _settle(ports: Ports, hold: Hold, instance: Instance) -> Instance:
    observed = replace(instance.observed, generation=instance.desired.generation)
    final = replace(instance, observed=observed, due_at=None, attempts=0)
    if final.desired.state is not DesiredState.DELETED:
        return _release(ports, hold, final)
    now = ports.now()
    tombstone = replace(final, deleted_at=now, expire_at=now + TOMBSTONE)
    return _release(ports, hold, tombstone, *(Delete(ref) for ref in claims(tombstone)))


def _back_off(ports: Ports, hold: Hold, instance: Instance) -> Instance:
    """Only time may help: again after 5 s, 10 s, ... 10 min, each up to a half earlier so that many do not meet."""
    delay = min(BACKOFF_FIRST * 2 ** min(instance.attempts, 10), BACKOFF_LAST) * (1 - ports.draw() / 2)
    return _release(ports, hold, replace(instance, due_at=ports.now() + delay, attempts=instance.attempts + 1))


def _hand_on(ports: Ports, hold: Hold, instance: Instance) -> Instance:
    """Let go in a commit, then publish: a worker that hears of it earlier would find the lease held."""
    released = _release(ports, hold, replace(instance, due_at=ports.now()))
    try:
        ports.queue.publish([Task("instance", released.id)])
    except Unavailable:
        # The document says that it is due, and the sweep reads that: it costs time, nothing else.
        log.warning("handing on was not confirmed", extra={"instance": released.id}, exc_info=True)
    return released


def _release(ports: Ports, hold: Hold, instance: Instance, *writes: Write) -> Instance:
    before, after = hold.stored, stamped(ports, instance)
    news = (before.status, before.observed.trouble) != (after.status, after.observed.trouble) or after.due_at is None
    events = [recording(after, event.status_changed(before, after, ports.now()))] if news else []
    return hold.release(after, [*events, *writes])
