"""The sweep: the scheduled pass that publishes whatever is due, and has every toolbox in use inspected.

It is what makes the system level-triggered: any request, event or message that was lost is found here a minute later.
"""

from __future__ import annotations

from functions.domain.toolbox.model import CONTACTED
from functions.lifecycle import outbox
from functions.lifecycle.account.admission import ACCOUNTS
from functions.lifecycle.dependencies import Dependencies, Query, Task
from functions.lifecycle.instance.rotation import ROTATIONS
from functions.lifecycle.repository import INSTANCES, TOOLBOXES
from functions.lifecycle.rollout.rollouts import ROLLOUTS

PAGE = 300
MAX_PAGES = 100
# One call of DigitalOcean's API serves all toolboxes; the next one makes up for a sweep that was missed.
ORPHAN_DROPLETS_EVERY_MINUTES = 10
# The documents that have a `due_at` while something is to be done about them, by the kind of task that does it.
DUE = {"instance": INSTANCES, "toolbox": TOOLBOXES, "account": ACCOUNTS, "rotation": ROTATIONS, "rollout": ROLLOUTS}


def sweep(deps: Dependencies) -> int:
    """Publish a task for whatever is due and for each toolbox in use; the number of tasks. The rest comes next time."""
    due = (("due_at", "<=", deps.now()),)
    published = sum(_publish(deps, kind, Query(collection, due, "due_at")) for kind, collection in DUE.items())
    for status in sorted(CONTACTED):
        published += _publish(deps, "toolbox", Query(TOOLBOXES, (("status", "==", status),), limit=PAGE))
    if deps.now().minute % ORPHAN_DROPLETS_EVERY_MINUTES == 0:
        deps.queue.publish([Task("orphan_droplets", "all")])
        published += 1
    if deps.sends_webhooks and outbox.waiting(deps):
        deps.queue.publish([Task("outbox", "due")])
        published += 1
    return published


def _publish(deps: Dependencies, kind: str, query: Query) -> int:
    published, after = 0, None
    for _ in range(MAX_PAGES):
        found = deps.store.query(Query(query.collection, query.where, query.order_by, limit=PAGE, after=after))
        if found:
            deps.queue.publish([Task(kind, snapshot.ref.id) for snapshot in found])
            last = found[-1]
            after = (last.data[query.order_by], last.ref.id) if query.order_by else (last.ref.id,)
        published += len(found)
        if len(found) < PAGE:
            break
    return published
