"""An account's toolboxes, and a look at one."""

from __future__ import annotations

from dataclasses import replace

from functions.domain import event, lease, toolbox_observe
from functions.domain.caller import Caller
from functions.domain.errors import Conflict, Contended, ToolboxUnavailable
from functions.domain.toolbox import CONTACTED, Toolbox, ToolboxStatus
from functions.lifecycle.documents import TOOLBOXES, Loaded, dump, load, recording_toolbox, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff
from functions.lifecycle.instances import owned
from functions.lifecycle.ports import Document, Ports, Query, Replace
from shim.contract import errors as shim_errors
from shim.contract import messages, routes

LOOK_SECONDS = 10.0


def get(ports: Ports, caller: Caller, toolbox_id: str) -> Toolbox:
    return owned(caller, toolbox_id, _load(ports, toolbox_id))


def page(ports: Ports, caller: Caller, limit: int, after: tuple[object, str] | None) -> list[Toolbox]:
    """The account's toolboxes, to an admin everybody's, newest first, that follow `after` (created_at, id).

    Without the deprovisioned ones.
    """
    theirs = () if caller.admin else (("account", "==", caller.account),)
    where = (*theirs, ("deprovisioned_at", "==", None))
    found = ports.store.query(Query(TOOLBOXES, where, "created_at", descending=True, limit=limit, after=after))
    return [loaded.value for snapshot in found if (loaded := load(Toolbox, snapshot))]


def history(
    ports: Ports, caller: Caller, toolbox_id: str, limit: int, after: tuple[object, str] | None
) -> list[Document]:
    """Its events, newest first, each with its `id`; also those of one that is gone."""
    owned(caller, toolbox_id, _load(ports, toolbox_id))
    query = Query(f"{TOOLBOXES}/{toolbox_id}/events", order_by="time", descending=True, limit=limit, after=after)
    return [{"id": snapshot.ref.id, **snapshot.data} for snapshot in ports.store.query(query)]


def stats(ports: Ports, caller: Caller, toolbox_id: str) -> Toolbox:
    """The toolbox as its shim says just now that it is; not recorded. Raises ToolboxUnavailable, ContractError."""
    return _asked(ports, owned(caller, toolbox_id, _load(ports, toolbox_id)))


def refresh(ports: Ports, caller: Caller, toolbox_id: str) -> Toolbox:
    """Ask the shim how it is and record that. A shim that cannot be reached is recorded, not raised."""
    for attempt in range(ATTEMPTS):
        found = _load(ports, toolbox_id)
        toolbox = owned(caller, toolbox_id, found)
        if found is None or toolbox.status not in CONTACTED:
            return toolbox
        seen = replace(_looked_at(ports, toolbox), revision=ports.new_id(), updated_at=ports.now())
        try:
            told = [recording_toolbox(seen, one) for one in event.toolbox_seen(toolbox, seen, ports.now())]
            ports.store.commit([Replace(toolbox_ref(toolbox.id), dump(seen), found.version), *told])
        except Conflict:
            backoff(ports, attempt)
            continue
        return seen
    raise Contended(f"toolbox {toolbox_id} is being changed by others; ask again")


def _load(ports: Ports, toolbox_id: str) -> Loaded[Toolbox] | None:
    return load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0])


def _looked_at(ports: Ports, toolbox: Toolbox) -> Toolbox:
    try:
        return _asked(ports, toolbox)
    except (ToolboxUnavailable, shim_errors.OutcomeUnknown):
        return replace(toolbox, status=ToolboxStatus.UNRESPONSIVE)


def _asked(ports: Ports, toolbox: Toolbox) -> Toolbox:
    start_by = ports.now() + lease.START_BY_MARGIN
    answer = ports.shims.of(toolbox).command(routes.STATUS, start_by=start_by, query="metrics=1", within=LOOK_SECONDS)
    assert isinstance(answer, messages.Status)
    return toolbox_observe.answered(toolbox, answer, ports.now())
