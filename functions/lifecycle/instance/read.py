"""An account's instances: found, listed, waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from functions.domain.account.caller import Caller
from functions.domain.errors import NotFound
from functions.domain.event import Event
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Dependencies, Document, Query
from functions.lifecycle.repository import (
    INSTANCES,
    Loaded,
    decode,
    event_history,
    instance_ref,
    living_instances,
    load_toolbox,
    name_ref,
    query,
    toolbox_ref,
)
from shim.contract import names

WAIT_SECONDS = 0.25

After = tuple[object, str] | None


def get(deps: Dependencies, caller: Caller, toolbox_id: str, key: str) -> Instance:
    toolbox, found = find(deps, caller, toolbox_id, key)
    return _as_reached(found.value, toolbox)


def page(deps: Dependencies, caller: Caller, toolbox_id: str, limit: int, after: After) -> list[Instance]:
    """The toolbox's instances, newest first, at most `limit`, those that follow `after` (created_at, id)."""
    toolbox = owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))
    asked = replace(living_instances(toolbox_id, limit), after=after)
    return [_as_reached(found.value, toolbox) for found in query(deps, Instance, asked)]


def events(deps: Dependencies, caller: Caller, toolbox_id: str, key: str, limit: int, after: After) -> list[Event]:
    """An instance's events, newest first; also those of a deleted instance, by its id."""
    _, found = find(deps, caller, toolbox_id, key, deleted=True)
    return event_history(deps, f"{INSTANCES}/{found.value.id}/events", limit, after)


def post_mortems(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, limit: int, after: After
) -> list[Document]:
    """An instance's post-mortems, newest first, each with its `id`; also those of a deleted instance, by its id."""
    _, found = find(deps, caller, toolbox_id, key, deleted=True)
    search = Query(
        f"{INSTANCES}/{found.value.id}/post_mortems", order_by="time", descending=True, limit=limit, after=after
    )
    return [{"id": snapshot.ref.id, **snapshot.data} for snapshot in deps.store.query(search)]


def wait(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, reached: Callable[[Instance], bool], until: datetime
) -> tuple[Instance, bool]:
    """The instance once `reached` holds of it, or as it stands at `until`, and whether it held."""
    instance = get(deps, caller, toolbox_id, key)
    while not reached(instance) and deps.now() < until:
        deps.pause(WAIT_SECONDS)
        instance = get(deps, caller, toolbox_id, instance.id)
    return instance, reached(instance)


def find(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, deleted: bool = False
) -> tuple[Toolbox, Loaded[Instance]]:
    """The toolbox and its instance by id or name. Raises NotFound, the same for what is not there or not theirs."""
    by_id = names.UUID.fullmatch(key) is not None
    second = instance_ref(key) if by_id else name_ref(toolbox_id, key)
    first_found, found = deps.store.get([toolbox_ref(toolbox_id), second])
    toolbox = owned(caller, toolbox_id, decode(deps, Toolbox, first_found))
    if found and not by_id:
        [found] = deps.store.get([instance_ref(found.data["instance_id"])])
    instance = decode(deps, Instance, found)
    if instance is None or instance.value.toolbox_id != toolbox.id or not caller.may_see(instance.value.account):
        raise NotFound(f"toolbox {toolbox_id} has no instance {key!r}")
    if instance.value.deleted_at and not deleted:
        raise NotFound(f"toolbox {toolbox_id} has no instance {key!r}")
    return toolbox, instance


def _as_reached(instance: Instance, toolbox: Toolbox) -> Instance:
    """Contact lost or found is written once, with the toolbox, and not into each of its instances."""
    if toolbox.status is not ToolboxStatus.UNRESPONSIVE:
        return instance
    return replace(instance, observed=replace(instance.observed, reachable=False))


def owned(caller: Caller, toolbox_id: str, toolbox: Loaded[Toolbox] | None) -> Toolbox:
    if toolbox is None or not caller.may_see(toolbox.value.account):
        raise NotFound(f"there is no toolbox {toolbox_id!r}")
    return toolbox.value
