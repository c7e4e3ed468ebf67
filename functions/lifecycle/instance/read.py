"""Read an account's instances: find one, list them, wait for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from functions.domain.account.model import Caller
from functions.domain.errors import NotFound
from functions.domain.event import Event
from functions.domain.instance.model import Instance
from functions.domain.instance.size import without_large_parts
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle import listing
from functions.lifecycle.dependencies import Dependencies, Document, Query
from functions.lifecycle.listing import After, Listed
from functions.lifecycle.repository import (
    INSTANCES,
    Loaded,
    decode,
    instance_ref,
    living_instances,
    load_toolbox,
    name_ref,
    pages,
    toolbox_ref,
)
from shim.contract import names

WAIT_SECONDS = 0.25
# So many whole documents are in memory at a time where a toolbox's instances are gone through.
BATCH = 25


def get(deps: Dependencies, caller: Caller, toolbox_id: str, key: str) -> Instance:
    """Return an instance by its id or name. Raises NotFound."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    return _with_reachability(found.value, toolbox)


def page(deps: Dependencies, caller: Caller, toolbox_id: str, limit: int, after: After) -> Listed[Instance]:
    """Return the toolbox's instances, newest first; `after` is by created_at."""
    toolbox = owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))
    search = replace(living_instances(toolbox_id, limit), after=after)
    return listing.page(
        deps, search, lambda snapshot: _with_reachability(deps.documents.decode(Instance, snapshot.data), toolbox)
    )


def by_id(deps: Dependencies, toolbox: Toolbox) -> dict[str, Instance]:
    """Return all of the toolbox's instances by their ids, without the large parts of their specs."""
    found = pages(deps, Instance, living_instances(toolbox.id, BATCH))
    return {loaded.value.id: without_large_parts(loaded.value) for loaded in found}


def events(deps: Dependencies, caller: Caller, toolbox_id: str, key: str, limit: int, after: After) -> Listed[Event]:
    """Return an instance's events, newest first; those of a deleted instance are found by its id."""
    _, found = find(deps, caller, toolbox_id, key, deleted=True)
    return listing.event_history(deps, f"{INSTANCES}/{found.value.id}/events", limit, after)


def post_mortems(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, limit: int, after: After
) -> Listed[Document]:
    """Return an instance's post-mortems, newest first, each with its `id`; also those of a deleted one, by its id."""
    _, found = find(deps, caller, toolbox_id, key, deleted=True)
    search = Query(
        f"{INSTANCES}/{found.value.id}/post_mortems", order_by="time", descending=True, limit=limit, after=after
    )
    return listing.page(deps, search, lambda snapshot: {"id": snapshot.ref.id, **snapshot.data})


def wait(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, reached: Callable[[Instance], bool], until: datetime
) -> tuple[Instance, bool]:
    """Wait until `reached` is true of the instance, or for the time `until`; return it and whether `reached` is."""
    instance = get(deps, caller, toolbox_id, key)
    while not reached(instance) and deps.now() < until:
        deps.pause(WAIT_SECONDS)
        instance = get(deps, caller, toolbox_id, instance.id)
    return instance, reached(instance)


def find(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, deleted: bool = False
) -> tuple[Toolbox, Loaded[Instance]]:
    """Return the toolbox and its instance by id or name; with `deleted` also a tombstone.

    Raises NotFound with the same message for another account's instance, so that nobody can probe for ids.
    """
    by_id = names.UUID.fullmatch(key) is not None
    ref = instance_ref(key) if by_id else name_ref(toolbox_id, key)
    toolbox_snapshot, snapshot = deps.store.get([toolbox_ref(toolbox_id), ref])
    toolbox = owned(caller, toolbox_id, decode(deps, Toolbox, toolbox_snapshot))
    if snapshot and not by_id:
        [snapshot] = deps.store.get([instance_ref(snapshot.data["instance_id"])])
    found = decode(deps, Instance, snapshot)
    if (
        found is None
        or found.value.toolbox_id != toolbox.id
        or not caller.may_see(found.value.account)
        or (found.value.deleted_at and not deleted)
    ):
        raise NotFound(f"Toolbox {toolbox_id} has no instance {key!r}.")
    return toolbox, found


def owned(caller: Caller, toolbox_id: str, toolbox: Loaded[Toolbox] | None) -> Toolbox:
    """Return the toolbox. Raises NotFound where there is none or it is another account's."""
    if toolbox is None or not caller.may_see(toolbox.value.account):
        raise NotFound(f"There is no toolbox {toolbox_id!r}.")
    return toolbox.value


def _with_reachability(instance: Instance, toolbox: Toolbox) -> Instance:
    """Show that the toolbox does not answer, which is stored once with the toolbox and not in all of its instances."""
    if toolbox.status is not ToolboxStatus.UNRESPONSIVE:
        return instance
    return replace(instance, observed=replace(instance.observed, reachable=False))
