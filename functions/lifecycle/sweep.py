"""The scheduled pass: every toolbox is looked at, whatever is due goes to the queue. It retries all that was lost."""

from __future__ import annotations

from functions.domain.toolbox import CONTACTED
from functions.lifecycle import outbox
from functions.lifecycle.documents import INSTANCES, TOOLBOXES
from functions.lifecycle.ports import Ports, Query, Task
from functions.lifecycle.rollouts import ROLLOUTS
from functions.lifecycle.rotations import ROTATIONS
from functions.lifecycle.standing import ACCOUNTS

PAGE = 300
MAX_PAGES = 100
# One call of DigitalOcean's API for all toolboxes; one sweep that is missed is followed by the next ten minutes'.
STRAYS_EVERY_MINUTES = 10


def sweep(ports: Ports) -> int:
    """Publish whatever is due and each toolbox in use; how many. What is left over comes next time."""
    due = (("due_at", "<=", ports.now()),)
    published = _publish(ports, "instance", Query(INSTANCES, due, "due_at"))
    published += _publish(ports, "toolbox", Query(TOOLBOXES, due, "due_at"))
    published += _publish(ports, "account", Query(ACCOUNTS, due, "due_at"))
    published += _publish(ports, "rotation", Query(ROTATIONS, due, "due_at"))
    published += _publish(ports, "rollout", Query(ROLLOUTS, due, "due_at"))
    for status in sorted(CONTACTED):
        published += _publish(ports, "toolbox", Query(TOOLBOXES, (("status", "==", status),), limit=PAGE))
    if ports.now().minute % STRAYS_EVERY_MINUTES == 0:
        ports.queue.publish([Task("strays", "all")])
        published += 1
    if ports.announces and outbox.waiting(ports):
        ports.queue.publish([Task("outbox", "due")])
        published += 1
    return published


def _publish(ports: Ports, kind: str, query: Query) -> int:
    published, after = 0, None
    for _ in range(MAX_PAGES):
        found = ports.store.query(Query(query.collection, query.where, query.order_by, limit=PAGE, after=after))
        if found:
            ports.queue.publish([Task(kind, snapshot.ref.id) for snapshot in found])
            last = found[-1]
            after = (last.data[query.order_by], last.ref.id) if query.order_by else (last.ref.id,)
        published += len(found)
        if len(found) < PAGE:
            break
    return published
