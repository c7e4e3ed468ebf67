"""Read an account's toolboxes, and query the shim of one."""

from __future__ import annotations

from dataclasses import replace

from functions.domain import lease
from functions.domain.account.model import Caller
from functions.domain.errors import ToolboxUnavailable
from functions.domain.event import Event
from functions.domain.toolbox import event, observe
from functions.domain.toolbox.model import CONTACTED, Toolbox, ToolboxStatus
from functions.lifecycle import listing
from functions.lifecycle.dependencies import Dependencies, Query
from functions.lifecycle.instance.read import owned
from functions.lifecycle.listing import After, Listed
from functions.lifecycle.repository import (
    TOOLBOXES,
    load_toolbox,
    save_or_conflict,
    stamp,
    toolbox_event,
    update_with_retry,
)
from shim.contract import errors as shim_errors

STATUS_SECONDS = 10.0


def get(deps: Dependencies, caller: Caller, toolbox_id: str) -> Toolbox:
    """Return a toolbox as it is stored. Raises NotFound, also where it is another account's."""
    return owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))


def page(deps: Dependencies, caller: Caller, limit: int, after: After) -> Listed[Toolbox]:
    """Return the account's toolboxes that are not deprovisioned, newest first; an admin gets those of all accounts.

    `after` is where to continue: (created_at, id) of the last toolbox of the page before.
    """
    owner = () if caller.admin else (("account", "==", caller.account),)
    where = (*owner, ("deprovisioned_at", "==", None))
    search = Query(TOOLBOXES, where, "created_at", descending=True, limit=limit, after=after)
    return listing.page(deps, search, lambda snapshot: deps.documents.decode(Toolbox, snapshot.data))


def events(deps: Dependencies, caller: Caller, toolbox_id: str, limit: int, after: After) -> Listed[Event]:
    """Return its events, newest first; also those of a deprovisioned toolbox."""
    owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))
    return listing.event_history(deps, f"{TOOLBOXES}/{toolbox_id}/events", limit, after)


def stats(deps: Dependencies, caller: Caller, toolbox_id: str) -> Toolbox:
    """Return the toolbox with its shim's present status folded in; nothing is stored. Raises ToolboxUnavailable."""
    return _with_status(deps, owned(caller, toolbox_id, load_toolbox(deps, toolbox_id)))


def refresh(deps: Dependencies, caller: Caller, toolbox_id: str) -> Toolbox:
    """Query the shim's status and record it. That the shim does not answer is recorded too, rather than raised."""

    def attempt() -> Toolbox:
        found = load_toolbox(deps, toolbox_id)
        toolbox = owned(caller, toolbox_id, found)
        if found is None or toolbox.status not in CONTACTED:
            return toolbox
        after = stamp(deps, _with_contact(deps, toolbox))
        events = [toolbox_event(deps, after, new) for new in event.changes(toolbox, after, deps.now())]
        return save_or_conflict(deps, after, found, events).value

    return update_with_retry(deps, attempt, f"Toolbox {toolbox_id} is being changed by other requests. Try again.")


def _with_contact(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    try:
        return _with_status(deps, toolbox)
    except (ToolboxUnavailable, shim_errors.OutcomeUnknown):
        return replace(toolbox, status=ToolboxStatus.UNRESPONSIVE)


def _with_status(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    start_by = lease.start_by_without_lease(deps.now())
    status = deps.shims.for_toolbox(toolbox).status(start_by=start_by, timeout=STATUS_SECONDS)
    return observe.fold_status(toolbox, status, deps.now())
