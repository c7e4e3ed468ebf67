"""An account's instances: found, listed, waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from functions.domain.caller import Caller
from functions.domain.errors import NotFound
from functions.domain.instance import Instance
from functions.domain.toolbox import Toolbox, ToolboxStatus
from functions.lifecycle.documents import INSTANCES, Loaded, instance_ref, load, name_ref, toolbox_ref
from functions.lifecycle.ports import Document, Ports, Query
from shim.contract import names

WAIT_SECONDS = 0.25

After = tuple[object, str] | None


def get(ports: Ports, caller: Caller, toolbox_id: str, key: str) -> Instance:
    toolbox, found = find(ports, caller, toolbox_id, key)
    return _as_reached(found.value, toolbox)


def page(ports: Ports, caller: Caller, toolbox_id: str, limit: int, after: After) -> list[Instance]:
    """The toolbox's instances, newest first, at most `limit`, those that follow `after` (created_at, id)."""
    toolbox = owned(caller, toolbox_id, load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0]))
    where = (("toolbox_id", "==", toolbox_id), ("deleted_at", "==", None))
    found = ports.store.query(Query(INSTANCES, where, "created_at", descending=True, limit=limit, after=after))
    return [_as_reached(loaded.value, toolbox) for snapshot in found if (loaded := load(Instance, snapshot))]


def history(
    ports: Ports, caller: Caller, toolbox_id: str, key: str, kind: str, limit: int, after: After
) -> list[Document]:
    """`events` or `post_mortems` of an instance, newest first, each with its `id`; also of a deleted one, by its id."""
    _, found = find(ports, caller, toolbox_id, key, deleted=True)
    query = Query(f"{INSTANCES}/{found.value.id}/{kind}", order_by="time", descending=True, limit=limit, after=after)
    return [{"id": snapshot.ref.id, **snapshot.data} for snapshot in ports.store.query(query)]


def wait(
    ports: Ports, caller: Caller, toolbox_id: str, key: str, reached: Callable[[Instance], bool], until: datetime
) -> tuple[Instance, bool]:
    """The instance once `reached` holds of it, or as it stands at `until`, and whether it held."""
    instance = get(ports, caller, toolbox_id, key)
    while not reached(instance) and ports.now() < until:
        ports.pause(WAIT_SECONDS)
        instance = get(ports, caller, toolbox_id, instance.id)
    return instance, reached(instance)


def find(
    ports: Ports, caller: Caller, toolbox_id: str, key: str, *, deleted: bool = False
) -> tuple[Toolbox, Loaded[Instance]]:
    """The toolbox and its instance by id or name. Raises NotFound, the same for what is not there or not theirs."""
    by_id = names.UUID.fullmatch(key) is not None
    second = instance_ref(key) if by_id else name_ref(toolbox_id, key)
    first_found, found = ports.store.get([toolbox_ref(toolbox_id), second])
    toolbox = owned(caller, toolbox_id, load(Toolbox, first_found))
    if found and not by_id:
        [found] = ports.store.get([instance_ref(found.data["instance_id"])])
    instance = load(Instance, found)
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
