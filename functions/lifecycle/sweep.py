"""The scheduled pass: whatever is due goes to the queue. It is the retry of everything that was lost."""

from __future__ import annotations

from functions.lifecycle.documents import INSTANCES
from functions.lifecycle.ports import Ports, Query, Task

PAGE = 300
MAX_PAGES = 100


def sweep(ports: Ports) -> int:
    """Publish each instance that is due; the number of them. What is left over is due at the next sweep too."""
    published, after = 0, None
    now = ports.now()
    for _ in range(MAX_PAGES):
        found = ports.store.query(Query(INSTANCES, (("due_at", "<=", now),), "due_at", limit=PAGE, after=after))
        if found:
            ports.queue.publish([Task("instance", snapshot.ref.id) for snapshot in found])
            after = (found[-1].data["due_at"], found[-1].ref.id)
        published += len(found)
        if len(found) < PAGE:
            break
    return published
