"""Find droplets that carry our tag and that no toolbox's document knows.

They are reported and never destroyed automatically: a droplet that is destroyed by mistake takes an account's data with
it, and one that is kept by mistake costs a few dollars until an operator looks.

orphan_droplets/{droplet id}   {name, address, tags, toolbox_id, created_at, first_seen_at}
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta

from functions.domain.account.model import Caller
from functions.domain.errors import Conflict, DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown, NotFound
from functions.domain.toolbox import droplet, event
from functions.domain.toolbox.droplet import Droplet
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Create, Delete, Dependencies, Document, Query, Ref, Write
from functions.lifecycle.repository import load_many, toolbox_event, toolbox_ref
from shim.contract.names import UUID

log = logging.getLogger(__name__)

ORPHAN_DROPLETS = "orphan_droplets"
MAX_ORPHANS = 500
# The document of a droplet that was just created may not know it yet.
MIN_AGE = timedelta(minutes=10)
_OWNED = re.compile(rf"toolbox-(?P<toolbox>{UUID.pattern})(-[0-9]+)?")


def find_orphans(deps: Dependencies) -> None:
    """List the droplets of all toolboxes in one call, compare them with the documents, and record the orphans."""
    try:
        found = deps.droplets.list_by_tag(droplet.TAG)
    except (DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown) as error:
        log.warning("the droplets could not be listed: %s", error)
        return
    # The documents are read after the list, so that a droplet that became known meanwhile is no orphan.
    owners = {each.id: _owner(each) for each in found}
    ids = sorted({owner for owner in owners.values() if owner})
    loaded = load_many(deps, Toolbox, [toolbox_ref(toolbox_id) for toolbox_id in ids])
    toolboxes = {each.value.id: each.value for each in loaded if each}
    orphans = {each.id: each for each in found if _is_orphan(deps, each, toolboxes.get(owners[each.id] or ""))}
    recorded = {snapshot.ref.id for snapshot in deps.store.query(Query(ORPHAN_DROPLETS, limit=MAX_ORPHANS))}
    for droplet_id in orphans.keys() - recorded:
        owner = owners[droplet_id]
        _record(deps, orphans[droplet_id], owner, toolboxes.get(owner or ""))
    for droplet_id in recorded - orphans.keys():
        deps.store.commit([Delete(Ref(ORPHAN_DROPLETS, droplet_id))])


def page(deps: Dependencies, caller: Caller) -> list[Document]:
    """Return all orphan droplets, in the order of their ids. Raises NotFound for all but admins."""
    if not caller.admin:
        raise NotFound("There is no such resource.")
    found = deps.store.query(Query(ORPHAN_DROPLETS, limit=MAX_ORPHANS))
    return [{"id": snapshot.ref.id, **snapshot.data} for snapshot in found]


def _is_orphan(deps: Dependencies, found: Droplet, toolbox: Toolbox | None) -> bool:
    if deps.now() - found.created_at < MIN_AGE:
        return False
    if toolbox is None:
        return True
    attempt = toolbox.attempt
    if attempt and not attempt.resolved and found.name == droplet.droplet_name(toolbox.id, attempt.number):
        # The outcome of this create call is still unknown: the reconciler is looking for its droplet.
        return False
    return found.id not in (toolbox.droplet_id, *(retired.droplet_id for retired in toolbox.retired))


def _record(deps: Dependencies, orphan: Droplet, owner: str | None, toolbox: Toolbox | None) -> None:
    now = deps.now()
    log.error("found an orphan droplet", extra={"droplet": orphan.id, "toolbox": owner})
    document: Document = {
        "name": orphan.name,
        "address": orphan.address,
        "tags": orphan.tags,
        "toolbox_id": owner,
        "created_at": orphan.created_at,
        "first_seen_at": now,
    }
    writes: list[Write] = [Create(Ref(ORPHAN_DROPLETS, orphan.id), document)]
    if toolbox:
        writes.append(toolbox_event(deps, toolbox, event.orphan_droplet_found(toolbox, orphan, now)))
    try:
        deps.store.commit(writes)
    except Conflict:
        log.info("another worker has recorded this orphan droplet", extra={"droplet": orphan.id})


def _owner(found: Droplet) -> str | None:
    """Return the id of the toolbox in the droplet's name or in one of its tags."""
    matches = (_OWNED.fullmatch(text) for text in (found.name, *found.tags))
    return next((match["toolbox"] for match in matches if match), None)
