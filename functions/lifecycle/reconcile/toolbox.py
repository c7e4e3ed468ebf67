"""How the reconciler treats a toolbox: its droplet, by calls of DigitalOcean's API, and its shim.

Every step except a query is preceded by a commit that records what is known so far, under a lease of full length.
Creating a droplet is not idempotent: the attempt is stored before the call is sent, and after a lost answer the droplet
is searched by the name of that attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain.instance.model import Reason
from functions.domain.lease import is_free
from functions.domain.plan import Plan
from functions.domain.toolbox import event, observe
from functions.domain.toolbox.decide import decide
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.steps import AwaitEnrolment, CreateDroplet, ToolboxStep
from functions.lifecycle.dependencies import Dependencies, Write
from functions.lifecycle.reconcile.driver import PUSH_BUDGET, Pass, PassOptions, WaitLimits
from functions.lifecycle.reconcile.lease import LeaseHolder, with_lease
from functions.lifecycle.repository import load_toolbox, save, toolbox_event
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from functions.lifecycle.toolbox.execute import attempted, execute

# How long one pass waits; then others may use the worker, and the sweep comes back to it.
WAIT = WaitLimits(timedelta(seconds=0.5), timedelta(seconds=5), timedelta(seconds=60))
# A shim that enrols reports itself: its droplet is looked at once a minute, only to see that it still exists.
ENROLMENT_EVERY = timedelta(seconds=60)
ONE_LOOK = WaitLimits(timedelta(0), timedelta(0), timedelta(0))


@dataclass
class ToolboxPolicy:
    """Reconciles a toolbox: its droplet, its firewall, its enrolment and its shim."""

    deps: Dependencies
    kind = "toolbox"
    max_steps = 400

    def begin(self, stored: Toolbox) -> Toolbox:
        return observe.begin(stored)

    def after_lost_pass(self, stored: Toolbox, start_by: datetime) -> Toolbox:
        """Each step's attempt was saved before it was sent, so the next pass looks for its effect."""
        return self.begin(stored)

    def align(self, run: Pass[Toolbox, ToolboxStep], document: Toolbox) -> Toolbox:
        return document

    def decide(self, document: Toolbox) -> Plan[ToolboxStep]:
        return decide(document)

    def obstacle(self, document: Toolbox) -> Reason | None:
        return document.obstacle

    def with_obstacle(self, document: Toolbox, reason: Reason) -> Toolbox:
        return replace(document, obstacle=reason)

    def hold_off(self, document: Toolbox) -> timedelta:
        return timedelta(0)

    def wait_limits(self, step: ToolboxStep) -> WaitLimits:
        return ONE_LOOK if isinstance(step, AwaitEnrolment) else WAIT

    def after_wait(self, document: Toolbox, step: ToolboxStep) -> tuple[Toolbox, datetime | None]:
        return document, self.deps.now() + ENROLMENT_EVERY if isinstance(step, AwaitEnrolment) else None

    def not_before(self, document: Toolbox) -> datetime | None:
        return document.not_before

    def execute(self, run: Pass[Toolbox, ToolboxStep], document: Toolbox, step: ToolboxStep) -> Toolbox:
        token = ""
        if isinstance(step, CreateDroplet):
            token = self.deps.new_id() + self.deps.new_id()
            document = attempted(document, step, token, self.deps.now())
        if not step.waits or document != run.holder.stored or not run.lease_lasts():
            document = run.save(document)

        def keep_lease() -> None:
            if not run.lease_lasts():
                run.save(document)

        return execute(step, self.deps, document, run.start_by(), token, keep_lease)

    def settle(self, document: Toolbox) -> tuple[Toolbox, Sequence[Write]]:
        return observe.settle(document, self.deps.now()), ()

    def merge(self, stored: Toolbox, ours: Toolbox) -> Toolbox:
        """Continue from the stored toolbox: what this worker observed since its last commit can be observed again."""
        return self.begin(stored)

    def events(self, before: Toolbox, after: Toolbox, *, final: bool) -> Sequence[Write]:
        return event_writes(self.deps, before, after)

    def log_fields(self, document: Toolbox) -> dict[str, str]:
        return {"toolbox": document.id}


def run(deps: Dependencies, toolbox_id: str) -> None:
    """Reconcile a toolbox that is due, then inspect it."""
    current = load_toolbox(deps, toolbox_id)
    if current is None:
        return
    if current.value.due_at is None or not is_free(current.value.lease, deps.now()):
        toolbox_inspect.inspect_loaded(deps, current)
        return
    leased = save(deps, with_lease(deps, current.value), current)
    if leased:
        options: PassOptions[Toolbox] = PassOptions(deps.now() + PUSH_BUDGET, allow_slow=True)
        Pass(deps, LeaseHolder(deps, leased), ToolboxPolicy(deps), options).run()
        toolbox_inspect.inspect(deps, toolbox_id)


def event_writes(deps: Dependencies, before: Toolbox, after: Toolbox) -> Sequence[Write]:
    """The events between two states of a toolbox."""
    return [toolbox_event(deps, after, new) for new in event.changes(before, after, deps.now())]
