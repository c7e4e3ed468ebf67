"""An account's toolboxes, and a look at one."""

from __future__ import annotations

from dataclasses import replace

from functions.domain import lease
from functions.domain.account.caller import Caller
from functions.domain.errors import ToolboxUnavailable
from functions.domain.event import Event
from functions.domain.toolbox import event
from functions.domain.toolbox import observe as toolbox_observe
from functions.domain.toolbox.model import CONTACTED, Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Dependencies, Query
from functions.lifecycle.instance.read import owned
from functions.lifecycle.repository import (
    TOOLBOXES,
    event_history,
    load_toolbox,
    query,
    save_or_conflict,
    stamp,
    toolbox_event,
    update_with_retry,
)
from shim.contract import errors as shim_errors

LOOK_SECONDS = 10.0


def get(deps: Dependencies, caller: Caller, toolbox_id: str) -> Toolbox:
    return owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))


def page(deps: Dependencies, caller: Caller, limit: int, after: tuple[object, str] | None) -> list[Toolbox]:
    """The account's toolboxes, to an admin everybody's, newest first, that follow `after` (created_at, id).

    Without the deprovisioned ones.
    """
    theirs = () if caller.admin else (("account", "==", caller.account),)
    where = (*theirs, ("deprovisioned_at", "==", None))
    asked = Query(TOOLBOXES, where, "created_at", descending=True, limit=limit, after=after)
    return [found.value for found in query(deps, Toolbox, asked)]


def events(
    deps: Dependencies, caller: Caller, toolbox_id: str, limit: int, after: tuple[object, str] | None
) -> list[Event]:
    """Its events, newest first, each with its `id`; also those of one that is gone."""
    owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))
    return event_history(deps, f"{TOOLBOXES}/{toolbox_id}/events", limit, after)


def stats(deps: Dependencies, caller: Caller, toolbox_id: str) -> Toolbox:
    """The toolbox as its shim says just now that it is; not recorded. Raises ToolboxUnavailable, ContractError."""
    return _asked(deps, owned(caller, toolbox_id, load_toolbox(deps, toolbox_id)))


def refresh(deps: Dependencies, caller: Caller, toolbox_id: str) -> Toolbox:
    """Ask the shim how it is and record that. A shim that cannot be reached is recorded, not raised."""

    def attempt() -> Toolbox:
        found = load_toolbox(deps, toolbox_id)
        toolbox = owned(caller, toolbox_id, found)
        if found is None or toolbox.status not in CONTACTED:
            return toolbox
        after = stamp(deps, _looked_at(deps, toolbox))
        events = [toolbox_event(deps, after, one) for one in event.changes(toolbox, after, deps.now())]
        return save_or_conflict(deps, after, found, events).value

    return update_with_retry(deps, attempt, f"toolbox {toolbox_id} is being changed by others; ask again")


def _looked_at(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    try:
        return _asked(deps, toolbox)
    except (ToolboxUnavailable, shim_errors.OutcomeUnknown):
        return replace(toolbox, status=ToolboxStatus.UNRESPONSIVE)


def _asked(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    start_by = deps.now() + lease.START_BY_MARGIN
    status = deps.shims.for_toolbox(toolbox).status(start_by=start_by, timeout=LOOK_SECONDS)
    return toolbox_observe.fold_status(toolbox, status, deps.now())
