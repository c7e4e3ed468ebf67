"""How the reconciler treats an instance: its container on the toolbox's droplet, by commands to the shim."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain.event import BACKEND
from functions.domain.instance import event
from functions.domain.instance.decide import decide
from functions.domain.instance.model import DesiredState, Instance, Reason, mark_for_inspection
from functions.domain.instance.observe import settle
from functions.domain.instance.request import request_suspension
from functions.domain.instance.spec import PullProgress
from functions.domain.instance.steps import PullImage, ReallocatePorts, RecordPostMortem, RollBack, Step
from functions.domain.lease import MAX_SKEW, is_free
from functions.domain.plan import Plan
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Write
from functions.lifecycle.instance import capacity
from functions.lifecycle.instance.execute import execute
from functions.lifecycle.reconcile.driver import PUSH_BUDGET, Pass, PassOptions, WaitLimits
from functions.lifecycle.reconcile.lease import LeaseHolder, with_lease
from functions.lifecycle.repository import (
    Loaded,
    instance_event,
    load_instance,
    load_toolbox,
    release_reservations,
    save,
    stamp,
)
from functions.lifecycle.toolbox import teardown

log = logging.getLogger(__name__)

PROGRESS_EVERY = timedelta(seconds=5)
# How long one pass waits for a container to become healthy or to answer; then others may use the worker.
WAIT = WaitLimits(timedelta(seconds=0.1), timedelta(seconds=2), timedelta(seconds=20))


@dataclass
class InstancePolicy:
    """`toolbox` is the one whose droplet the container runs on; it is loaded again where that may have changed."""

    deps: Dependencies
    toolbox: Toolbox
    kind = "instance"
    # An update has at most a dozen steps. Every look while its container becomes healthy counts as one, and so does
    # what begins again after another change of the desired state, or with other host ports.
    max_steps = 100

    def begin(self, stored: Instance) -> Instance:
        return replace(stored, observed=replace(stored.observed, obstacle=None))

    def after_lost_pass(self, stored: Instance, start_by: datetime) -> Instance:
        """As after a worker that died: inspect first, and nothing before its last command can no longer start."""
        document = mark_for_inspection(self.begin(stored))
        until = max(start_by + MAX_SKEW, document.observed.in_flight_until or start_by)
        return replace(document, observed=replace(document.observed, in_flight_until=until, progress=None))

    def align(self, run: Pass[Instance, Step], document: Instance) -> Instance:
        """The account was suspended or resumed: recorded on its toolboxes first, then here."""
        suspended = self.toolbox.suspended
        if document.suspended is suspended or document.target_state is DesiredState.DELETED:
            return document
        after = stamp(self.deps, request_suspension(document, suspended))
        verb = "suspend" if suspended else "resume"
        requested = event.requested(document, after, verb, BACKEND, self.deps.now())
        return run.holder.renew(after, [instance_event(self.deps, after, requested)])

    def decide(self, document: Instance) -> Plan[Step]:
        return decide(document)

    def obstacle(self, document: Instance) -> Reason | None:
        return document.observed.obstacle

    def with_obstacle(self, document: Instance, reason: Reason) -> Instance:
        return replace(document, observed=replace(document.observed, obstacle=reason))

    def hold_off(self, document: Instance) -> timedelta:
        """Until whatever was sent before, by whichever worker, can no longer start."""
        until = document.observed.in_flight_until
        return max(timedelta(0), until - self.deps.now()) if until else timedelta(0)

    def wait_limits(self, step: Step) -> WaitLimits:
        return WAIT

    def after_wait(self, document: Instance, step: Step) -> tuple[Instance, datetime | None]:
        return self.with_obstacle(document, Reason("not-ready", step.cause)), None

    def not_before(self, document: Instance) -> datetime | None:
        return None

    def execute(self, run: Pass[Instance, Step], document: Instance, step: Step) -> Instance:
        deps = self.deps
        if step.slow or not run.lease_lasts():
            document = run.holder.renew(document)
            self._reload_toolbox()
        if isinstance(step, PullImage) and capacity.disk_is_short(self.toolbox.metrics):
            capacity.prune(deps, self.toolbox)
        shim, saved_at = deps.shims.for_toolbox(self.toolbox), deps.now()

        def on_progress(progress: PullProgress) -> None:
            nonlocal document, saved_at
            if deps.now() - saved_at >= PROGRESS_EVERY:
                saved_at = deps.now()
                observed = replace(document.observed, progress=progress)
                document = run.holder.renew(replace(document, observed=observed))

        start_by = run.start_by()
        if isinstance(step, ReallocatePorts):
            # Drawn at each attempt: another instance may have reserved the port that was drawn before.
            return run.save_with(lambda: execute(step, shim, document, start_by, deps, on_progress))
        after, writes = execute(step, shim, document, start_by, deps, on_progress)
        if isinstance(step, RecordPostMortem | RollBack):
            # Saved before the container is removed: nothing could fetch it again.
            return run.save(after, writes)
        # Progress may have been saved meanwhile, under a later lease.
        return replace(after, lease=document.lease, revision=document.revision)

    def settle(self, document: Instance) -> tuple[Instance, Sequence[Write]]:
        final = settle(document, self.deps.now())
        replaced = document.previous_version.spec.image if document.previous_version else final.spec.image
        if final.previous_version is None and final.spec == document.spec and replaced != final.spec.image:
            # While the instance still is due: if this worker dies here, the next one prunes.
            capacity.prune(self.deps, self.toolbox, settling=final)
        return final, release_reservations(document, final)

    def merge(self, stored: Instance, ours: Instance) -> Instance:
        """The new desired state with what this worker has observed: only the lease's holder writes what is observed."""
        # The droplet may have been replaced as well, and what is started on the old one would be lost with it.
        self._reload_toolbox()
        if stored.desired.spec_generation == ours.desired.spec_generation:
            return replace(stored, observed=ours.observed)
        # A new spec moved the present container to `previous`; what was observed since is of that one.
        previous = ours.observed.container
        needs_inspection = ours.observed.needs_inspection or not previous
        observed = replace(
            stored.observed,
            previous=previous,
            previous_needs_inspection=needs_inspection,
            needs_inspection=True,
            in_flight_until=ours.observed.in_flight_until,
        )
        return replace(stored, observed=observed)

    def events(self, before: Instance, after: Instance, *, final: bool) -> Sequence[Write]:
        between = event.final_events if final else event.interim_events
        return [instance_event(self.deps, after, new) for new in between(before, after, self.deps.now())]

    def log_fields(self, document: Instance) -> dict[str, str]:
        return {"instance": document.id, "toolbox": self.toolbox.id}

    def _reload_toolbox(self) -> None:
        found = load_toolbox(self.deps, self.toolbox.id)
        self.toolbox = found.value if found else self.toolbox


def reconcile(
    deps: Dependencies, leased: Loaded[Instance], toolbox: Toolbox, options: PassOptions[Instance]
) -> Instance:
    """A pass over an instance whose lease was just taken; the instance as saved. Raises Unavailable."""
    return Pass(deps, LeaseHolder(deps, leased), InstancePolicy(deps, toolbox), options).run()


def run(deps: Dependencies, instance_id: str, *, inspect: bool = False) -> None:
    """Reconcile an instance that is due, or inspect it in any case; skip it while another worker holds its lease.

    Returning means that the message needs no redelivery.
    """
    current = load_instance(deps, instance_id)
    if current is None or not is_free(current.value.lease, deps.now()):
        return
    if current.value.due_at is None and not inspect:
        return
    document = mark_for_inspection(current.value) if inspect else current.value
    leased = save(deps, with_lease(deps, document), current)
    if leased:
        run_leased(deps, leased)


def run_leased(deps: Dependencies, leased: Loaded[Instance]) -> None:
    """A worker's pass over an instance whose lease it has just taken."""
    toolbox = load_toolbox(deps, leased.value.toolbox_id)
    if toolbox and toolbox.value.deprovisioned_at:
        # It was being deployed when the toolbox was deprovisioned: there is no droplet for it any more.
        teardown.end_instance(deps, leased)
    elif toolbox:
        reconcile(deps, leased, toolbox.value, PassOptions(deps.now() + PUSH_BUDGET, allow_slow=True))
