"""The instances of a toolbox whose droplet goes: deployed anew on the next one, or ended with what can be learned.

Each of these does what there is time for and says whether that was all of it; called again it goes on with the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain import event
from functions.domain.instance import DesiredState, Instance, doubted
from functions.domain.plan import KeepPostMortem
from functions.domain.toolbox import Toolbox
from functions.domain.want import want
from functions.lifecycle import post_mortems
from functions.lifecycle.documents import INSTANCES, Loaded, load, recording
from functions.lifecycle.hold import stamped, write
from functions.lifecycle.ports import Ports, Query, Task, Write
from functions.lifecycle.settle import settled

PAGE = 100
# A lease is half over by then.
WITHIN = timedelta(seconds=10)


def redeploy(ports: Ports, toolbox: Toolbox) -> bool:
    """Have each instance looked at on the droplet that serves now: what it lacks is made as it is wanted.

    What was given up on the droplet before is tried on this one: the reason may have gone with that.
    """
    until = ports.now() + WITHIN
    for found in _living(ports, toolbox):
        if ports.now() >= until:
            return False
        if found.value.due_at is None:
            observed = replace(doubted(found.value).observed, failure=None, taken=[])
            due = stamped(ports, replace(found.value, observed=observed, due_at=ports.now()))
            if not write(ports, due, found, ()):
                return False
        ports.queue.publish([Task("instance", found.value.id)])
    return True


def end(ports: Ports, toolbox: Toolbox, start_by: datetime) -> bool:
    """Ask each instance to end, with a post-mortem of what its droplet still tells. Nothing waits for a dead shim."""
    until, source = ports.now() + WITHIN, toolbox
    for found in _living(ports, toolbox):
        if ports.now() >= until:
            return False
        if found.value.desired.state is DesiredState.DELETED:
            continue
        asked = stamped(ports, replace(want(found.value, DesiredState.DELETED), due_at=None))
        told = event.requested(found.value, asked, "delete", event.CONVERGE, ports.now())
        writes: list[Write] = [recording(asked, told)]
        if found.value.observed.container:
            step = KeepPostMortem("its toolbox goes", asked.container_name, f"{toolbox.id} {toolbox.generation}")
            kept = post_mortems.keep(step, ports.shims.of(source), found.value, start_by, ports)
            writes.append(kept)
            if kept.data["missing"]:
                # Asking for each of the others would take as long again.
                source = replace(toolbox, address=None)
        if not write(ports, asked, found, writes):
            return False
    return True


def free(ports: Ports, toolbox: Toolbox) -> bool:
    """Make tombstones of the instances, whoever holds them: their droplet is gone, and so their containers are."""
    until = ports.now() + WITHIN
    return all(ports.now() < until and ended(ports, found) for found in _living(ports, toolbox))


def ended(ports: Ports, found: Loaded[Instance]) -> bool:
    """Whether the instance is on record now as gone, with its droplet."""
    before = found.value
    wanted = before if before.desired.state is DesiredState.DELETED else want(before, DesiredState.DELETED)
    observed = replace(wanted.observed, container=None, gone=True, previous=None, uncertain=False, trouble=None)
    final, freed = settled(replace(wanted, observed=observed, lease=None), ports.now())
    after = stamped(ports, final)
    told = [recording(after, one) for one in event.seen(before, after, ports.now())]
    return write(ports, after, found, [*told, *freed]) is not None


def _living(ports: Ports, toolbox: Toolbox) -> Iterator[Loaded[Instance]]:
    where, after = (("toolbox_id", "==", toolbox.id), ("deleted_at", "==", None)), None
    while True:
        query = Query(INSTANCES, where, "created_at", descending=True, limit=PAGE, after=after)
        page = [loaded for snapshot in ports.store.query(query) if (loaded := load(Instance, snapshot))]
        yield from page
        if len(page) < PAGE:
            return
        after = (page[-1].value.created_at, page[-1].value.id)
