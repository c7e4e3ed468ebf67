"""The scheduled pass: every toolbox is looked at, whatever is due goes to the queue. It retries all that was lost."""

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
# One call of DigitalOcean's API for all toolboxes; one sweep that is missed is followed by the next ten minutes'.
STRAYS_EVERY_MINUTES = 10


def sweep(deps: Dependencies) -> int:
    """Publish whatever is due and each toolbox in use; how many. What is left over comes next time."""
    due = (("due_at", "<=", deps.now()),)
    published = _publish(deps, "instance", Query(INSTANCES, due, "due_at"))
    published += _publish(deps, "toolbox", Query(TOOLBOXES, due, "due_at"))
    published += _publish(deps, "account", Query(ACCOUNTS, due, "due_at"))
    published += _publish(deps, "rotation", Query(ROTATIONS, due, "due_at"))
    published += _publish(deps, "rollout", Query(ROLLOUTS, due, "due_at"))
    for status in sorted(CONTACTED):
        published += _publish(deps, "toolbox", Query(TOOLBOXES, (("status", "==", status),), limit=PAGE))
    if deps.now().minute % STRAYS_EVERY_MINUTES == 0:
        deps.queue.publish([Task("strays", "all")])
        published += 1
    if deps.announces and outbox.waiting(deps):
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
