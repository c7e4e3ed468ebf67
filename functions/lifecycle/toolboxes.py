"""An account's toolboxes, and a look at one."""

from __future__ import annotations

from dataclasses import replace

from functions.domain import lease
from functions.domain.caller import Caller
from functions.domain.errors import Conflict, Contended, ToolboxUnavailable
from functions.domain.toolbox import CONTACTED, Toolbox, ToolboxStatus
from functions.lifecycle.documents import TOOLBOXES, Loaded, dump, load, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff
from functions.lifecycle.instances import owned
from functions.lifecycle.ports import Ports, Query, Replace
from shim import protocol
from shim.protocol import messages

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


def refresh(ports: Ports, caller: Caller, toolbox_id: str) -> Toolbox:
    """Ask the shim how it is and record that. A shim that cannot be reached is recorded, not raised."""
    for attempt in range(ATTEMPTS):
        found = _load(ports, toolbox_id)
        toolbox = owned(caller, toolbox_id, found)
        if found is None or toolbox.status not in CONTACTED:
            return toolbox
        seen = replace(_looked_at(ports, toolbox), revision=ports.new_id(), updated_at=ports.now())
        try:
            ports.store.commit([Replace(toolbox_ref(toolbox.id), dump(seen), found.version)])
        except Conflict:
            backoff(ports, attempt)
            continue
        return seen
    raise Contended(f"toolbox {toolbox_id} is being changed by others; ask again")


def _load(ports: Ports, toolbox_id: str) -> Loaded[Toolbox] | None:
    return load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0])


def _looked_at(ports: Ports, toolbox: Toolbox) -> Toolbox:
    start_by = ports.now() + lease.START_BY_MARGIN
    try:
        answer = ports.shims.of(toolbox).command(
            protocol.STATUS, start_by=start_by, query="metrics=1", within=LOOK_SECONDS
        )
    except (ToolboxUnavailable, protocol.OutcomeUnknown):
        return replace(toolbox, status=ToolboxStatus.UNRESPONSIVE)
    assert isinstance(answer, messages.Status)
    return replace(
        toolbox,
        status=ToolboxStatus.ACTIVE,
        engine_id=answer.engine_id,
        shim_version=answer.version,
        contract=answer.contract,
        metrics=answer.metrics or toolbox.metrics,
        last_heartbeat_at=ports.now(),
    )
