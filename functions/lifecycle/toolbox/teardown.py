"""The instances of a toolbox whose droplet is replaced or destroyed.

They are redeployed on the next droplet, or deleted with post-mortems as far as the old droplet still answers. Each
function does what there is time for and returns whether that was everything; called again, it continues.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.errors import OF_ONE_DOCUMENT
from functions.domain.event import CONVERGE
from functions.domain.instance import event
from functions.domain.instance.model import DesiredState, Instance, mark_for_inspection
from functions.domain.instance.observe import settle
from functions.domain.instance.request import request_state
from functions.domain.instance.steps import RecordPostMortem
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Task, Write
from functions.lifecycle.instance import execute
from functions.lifecycle.repository import (
    Loaded,
    instance_event,
    living_instances,
    pages,
    release_reservations,
    save,
    stamp,
)

log = logging.getLogger(__name__)

PAGE = 100
# A third of a lease: enough is left for what follows.
BUDGET = timedelta(seconds=10)


def redeploy_instances(deps: Dependencies, toolbox: Toolbox) -> bool:
    """Have each instance inspected on the new droplet: a container that is missing there is made as desired.

    An instance that was given up on the old droplet is tried on the new one: the reason may be gone with it.
    """
    until = deps.now() + BUDGET
    for found in _living(deps, toolbox):
        if deps.now() >= until:
            return False
        if found.value.due_at is None:
            observed = replace(mark_for_inspection(found.value).observed, failure=None, refused_ports=[])
            due = stamp(deps, replace(found.value, observed=observed, due_at=deps.now()))
            if not _saved_or_skipped(deps, due, found):
                return False
        deps.queue.publish([Task("instance", found.value.id)])
    return True


def end_instances(deps: Dependencies, toolbox: Toolbox, start_by: datetime) -> bool:
    """Request the deletion of each instance, with a post-mortem as far as the droplet still answers.

    Nothing waits for a dead shim: after the first post-mortem that could not be fetched, the shim is not asked again.
    """
    until, source = deps.now() + BUDGET, toolbox
    for found in _living(deps, toolbox):
        instance = found.value
        if deps.now() >= until:
            return False
        if instance.desired.state is DesiredState.DELETED:
            continue
        ending = stamp(deps, replace(request_state(instance, DesiredState.DELETED), due_at=None))
        requested = event.requested(instance, ending, "delete", CONVERGE, deps.now())
        writes: list[Write] = [instance_event(deps, ending, requested)]
        if instance.observed.container:
            mark = f"{toolbox.id} {toolbox.generation}"
            step = RecordPostMortem("its toolbox is deprovisioned", ending.container_name, mark)
            recorded = execute.record(step, deps.shims.for_toolbox(source), instance, start_by, deps)
            writes.append(recorded)
            if recorded.data["missing"]:
                source = replace(toolbox, address=None)
        if not _saved_or_skipped(deps, ending, found, writes):
            return False
    return True


def free_reservations(deps: Dependencies, toolbox: Toolbox) -> bool:
    """Make tombstones of the instances, whoever holds their leases: their containers are gone with the droplet."""
    until = deps.now() + BUDGET
    return all(deps.now() < until and end_instance(deps, found) for found in _living(deps, toolbox))


def end_instance(deps: Dependencies, found: Loaded[Instance]) -> bool:
    """Record the instance as deleted together with its droplet; False where another writer was first.

    One that cannot be saved is skipped.
    """
    before = found.value
    deleting = before if before.desired.state is DesiredState.DELETED else request_state(before, DesiredState.DELETED)
    observed = replace(
        deleting.observed, container=None, absent=True, previous=None, needs_inspection=False, obstacle=None
    )
    after = stamp(deps, settle(replace(deleting, observed=observed, lease=None), deps.now()))
    events = [instance_event(deps, after, new) for new in event.final_events(before, after, deps.now())]
    return _saved_or_skipped(deps, after, found, [*events, *release_reservations(before, after)])


def _saved_or_skipped(
    deps: Dependencies, after: Instance, found: Loaded[Instance], writes: Sequence[Write] = ()
) -> bool:
    """Save the instance; False where another writer was first.

    One that cannot be saved is logged and counts as done: it must keep neither its neighbours nor the toolbox.
    """
    try:
        return save(deps, after, found, writes) is not None
    except OF_ONE_DOCUMENT:
        log.exception("an instance cannot be saved, and is skipped", extra={"instance": after.id})
        return True


def _living(deps: Dependencies, toolbox: Toolbox) -> Iterator[Loaded[Instance]]:
    return pages(deps, Instance, living_instances(toolbox.id, PAGE))
