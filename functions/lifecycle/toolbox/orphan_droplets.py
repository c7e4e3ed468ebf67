"""Droplets that carry our tag and that no toolbox knows: told, and never destroyed by anybody but a person.

orphan_droplets/{droplet id}   {name, address, tags, toolbox_id, created_at, first_seen_at}
"""

from __future__ import annotations

import logging
import re
from datetime import timedelta

from functions.domain.account.caller import Caller
from functions.domain.errors import Conflict, DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown, NotFound
from functions.domain.toolbox import droplet, event
from functions.domain.toolbox.droplet import Droplet
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Create, Delete, Dependencies, Document, Query, Ref, Write
from functions.lifecycle.repository import Loaded, decode, toolbox_event, toolbox_ref
from shim.contract.names import UUID

log = logging.getLogger(__name__)

ORPHAN_DROPLETS = "orphan_droplets"
MAX_ORPHANS = 500
# A droplet that was just made may not be on record yet.
YOUNG = timedelta(minutes=10)
_OWNED = re.compile(rf"toolbox-(?P<toolbox>{UUID.pattern})(-[0-9]+)?")


def find_orphans(deps: Dependencies) -> None:
    """One list of the API for all toolboxes together, held against what they know."""
    try:
        found = deps.droplets.list_by_tag(droplet.TAG)
    except (DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown) as error:
        log.warning("droplets could not be listed: %s", error)
        return
    # The documents are read after the list: what they know by now is known.
    owners = {one.id: _owner(one) for one in found}
    ids = sorted({owner for owner in owners.values() if owner})
    toolboxes = {one.value.id: one for one in (decode(deps, Toolbox, s) for s in deps.store.get(_refs(ids))) if one}
    strays = {one.id: one for one in found if _is_stray(deps, one, toolboxes.get(owners[one.id] or ""))}
    told = {snapshot.ref.id: snapshot for snapshot in deps.store.query(Query(ORPHAN_DROPLETS, limit=MAX_ORPHANS))}
    for key in strays.keys() - told.keys():
        _tell(deps, strays[key], owners[key], toolboxes.get(owners[key] or ""))
    for key in told.keys() - strays.keys():
        deps.store.commit([Delete(Ref(ORPHAN_DROPLETS, key))])


def page(deps: Dependencies, caller: Caller) -> list[Document]:
    """All that are there, by their ids. Raises NotFound for all but admins."""
    if not caller.admin:
        raise NotFound("there is no such thing")
    return [
        {"id": snapshot.ref.id, **snapshot.data}
        for snapshot in deps.store.query(Query(ORPHAN_DROPLETS, limit=MAX_ORPHANS))
    ]


def _is_stray(deps: Dependencies, seen: Droplet, toolbox: Loaded[Toolbox] | None) -> bool:
    if deps.now() - seen.created_at < YOUNG:
        return False
    if toolbox is None:
        return True
    box = toolbox.value
    attempt = box.attempt
    waited_for = (
        attempt is not None and not attempt.resolved and seen.name == droplet.droplet_name(box.id, attempt.number)
    )
    return not waited_for and seen.id not in (box.droplet_id, *(retired.droplet_id for retired in box.retired))


def _tell(deps: Dependencies, seen: Droplet, owner: str | None, toolbox: Loaded[Toolbox] | None) -> None:
    now = deps.now()
    log.error("a droplet of ours that no toolbox knows", extra={"droplet": seen.id, "toolbox": owner})
    stray: Document = {
        "name": seen.name,
        "address": seen.address,
        "tags": seen.tags,
        "toolbox_id": owner,
        "created_at": seen.created_at,
        "first_seen_at": now,
    }
    writes: list[Write] = [Create(Ref(ORPHAN_DROPLETS, seen.id), stray)]
    if toolbox:
        writes.append(toolbox_event(deps, toolbox.value, event.orphan_droplet_found(toolbox.value, seen, now)))
    try:
        deps.store.commit(writes)
    except Conflict:
        log.info("another worker has told of it", extra={"droplet": seen.id})


def _owner(seen: Droplet) -> str | None:
    """The id of the toolbox that its name or a tag of it speaks of."""
    matches = (_OWNED.fullmatch(text) for text in (seen.name, *seen.tags))
    return next((match["toolbox"] for match in matches if match), None)


def _refs(toolbox_ids: list[str]) -> list[Ref]:
    return [toolbox_ref(one) for one in toolbox_ids]
