"""The sweep: the scheduled pass that publishes whatever is due, and has every toolbox in use inspected.

It is what makes the system level-triggered: any request, event or message that was lost is found here a minute later.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.toolbox.model import CONTACTED
from functions.lifecycle import outbox
from functions.lifecycle.account.admission import ACCOUNTS
from functions.lifecycle.dependencies import MAX_IN, Dependencies, Query, Task
from functions.lifecycle.instance.rotation import ROTATIONS
from functions.lifecycle.repository import INSTANCES, TOOLBOXES
from functions.lifecycle.rollout.rollouts import ROLLOUTS

log = logging.getLogger(__name__)

# The next sweep comes a minute after this one, and would publish the same again.
WITHIN = timedelta(seconds=50)
# So many toolboxes are inspected together. More would need a second query for the instances that have changed.
BATCH = MAX_IN
PAGE = 30 * BATCH
# One call of DigitalOcean's API serves all toolboxes; the next one makes up for a sweep that was missed.
ORPHAN_DROPLETS_EVERY_MINUTES = 10
# The documents that have a `due_at` while something is to be done about them, by the kind of task that does it.
DUE = {"instance": INSTANCES, "toolbox": TOOLBOXES, "account": ACCOUNTS, "rotation": ROTATIONS, "rollout": ROLLOUTS}


def sweep(deps: Dependencies) -> int:
    """Publish a task for whatever is due and for each batch of toolboxes in use; the number of tasks.

    What could not be published within WITHIN is logged and comes next time.
    """
    until = deps.now() + WITHIN
    due = (("due_at", "<=", deps.now()),)
    published = 0
    for kind, collection in DUE.items():
        for ids in _pages(deps, Query(collection, due, "due_at", limit=PAGE, fields=("due_at",)), until):
            published += _publish(deps, [Task(kind, found) for found in ids])
    for status in sorted(CONTACTED):
        for ids in _pages(deps, Query(TOOLBOXES, (("status", "==", status),), limit=PAGE, fields=()), until):
            batches = [tuple(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH)]
            published += _publish(deps, [Task("toolboxes", ids=batch) for batch in batches])
    if deps.now().minute % ORPHAN_DROPLETS_EVERY_MINUTES == 0:
        deps.queue.publish([Task("orphan_droplets", "all")])
        published += 1
    if deps.sends_webhooks and outbox.waiting(deps):
        deps.queue.publish([Task("outbox", "due")])
        published += 1
    return published


def _publish(deps: Dependencies, tasks: Sequence[Task]) -> int:
    deps.queue.publish(tasks)
    return len(tasks)


def _pages(deps: Dependencies, query: Query, until: datetime) -> Iterator[list[str]]:
    """The ids of all documents that `query` finds, page by page, none of which is empty."""
    read = 0
    while found := deps.store.query(query):
        yield [snapshot.ref.id for snapshot in found]
        read += len(found)
        if len(found) < query.limit:
            return
        if deps.now() >= until:
            log.error(
                "the sweep was at %d documents of %s after %d s; the next sweep starts from the beginning",
                read,
                query.collection,
                WITHIN.total_seconds(),
            )
            return
        last = found[-1]
        place = (last.data[query.order_by], last.ref.id) if query.order_by else (last.ref.id,)
        query = replace(query, after=place)
