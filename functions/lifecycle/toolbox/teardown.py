"""The instances of a toolbox whose droplet goes: deployed anew on the next one, or ended with what can be learned.

Each of these does what there is time for and says whether that was all of it; called again it goes on with the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain import event
from functions.domain.instance.model import DesiredState, Instance, mark_for_inspection
from functions.domain.instance.request import request_state
from functions.domain.instance.steps import RecordPostMortem
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Query, Task, Write
from functions.lifecycle.instance import post_mortem
from functions.lifecycle.instance.settle import settle
from functions.lifecycle.reconcile.lease import save, stamp
from functions.lifecycle.repository import INSTANCES, Loaded, decode, instance_event

PAGE = 100
# A lease is half over by then.
WITHIN = timedelta(seconds=10)


def redeploy_instances(deps: Dependencies, toolbox: Toolbox) -> bool:
    """Have each instance looked at on the droplet that serves now: what it lacks is made as it is wanted.

    What was given up on the droplet before is tried on this one: the reason may have gone with that.
    """
    until = deps.now() + WITHIN
    for found in _living(deps, toolbox):
        if deps.now() >= until:
            return False
        if found.value.due_at is None:
            observed = replace(mark_for_inspection(found.value).observed, failure=None, refused_ports=[])
            due = stamp(deps, replace(found.value, observed=observed, due_at=deps.now()))
            if not save(deps, due, found, ()):
                return False
        deps.queue.publish([Task("instance", found.value.id)])
    return True


def end_instances(deps: Dependencies, toolbox: Toolbox, start_by: datetime) -> bool:
    """Ask each instance to end, with a post-mortem of what its droplet still tells. Nothing waits for a dead shim."""
    until, source = deps.now() + WITHIN, toolbox
    for found in _living(deps, toolbox):
        if deps.now() >= until:
            return False
        if found.value.desired.state is DesiredState.DELETED:
            continue
        asked = stamp(deps, replace(request_state(found.value, DesiredState.DELETED), due_at=None))
        told = event.requested(found.value, asked, "delete", event.CONVERGE, deps.now())
        writes: list[Write] = [instance_event(asked, told)]
        if found.value.observed.container:
            step = RecordPostMortem("its toolbox goes", asked.container_name, f"{toolbox.id} {toolbox.generation}")
            kept = post_mortem.record(step, deps.shims.of(source), found.value, start_by, deps)
            writes.append(kept)
            if kept.data["missing"]:
                # Asking for each of the others would take as long again.
                source = replace(toolbox, address=None)
        if not save(deps, asked, found, writes):
            return False
    return True


def free_reservations(deps: Dependencies, toolbox: Toolbox) -> bool:
    """Make tombstones of the instances, whoever holds them: their droplet is gone, and so their containers are."""
    until = deps.now() + WITHIN
    return all(deps.now() < until and end_instance(deps, found) for found in _living(deps, toolbox))


def end_instance(deps: Dependencies, found: Loaded[Instance]) -> bool:
    """Whether the instance is on record now as gone, with its droplet."""
    before = found.value
    wanted = before if before.desired.state is DesiredState.DELETED else request_state(before, DesiredState.DELETED)
    observed = replace(
        wanted.observed, container=None, absent=True, previous=None, needs_inspection=False, obstacle=None
    )
    final, freed = settle(replace(wanted, observed=observed, lease=None), deps.now())
    after = stamp(deps, final)
    told = [instance_event(after, one) for one in event.instance_events(before, after, deps.now())]
    return save(deps, after, found, [*told, *freed]) is not None


def _living(deps: Dependencies, toolbox: Toolbox) -> Iterator[Loaded[Instance]]:
    where, after = (("toolbox_id", "==", toolbox.id), ("deleted_at", "==", None)), None
    while True:
        query = Query(INSTANCES, where, "created_at", descending=True, limit=PAGE, after=after)
        page = [loaded for snapshot in deps.store.query(query) if (loaded := decode(Instance, snapshot))]
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1].value.created_at, page[-1].value.id)
