"""A look at one toolbox: one list of its engine, compared with what is on record, and whatever differs looked into.

A list is a hint. Nothing is removed or made anew on its word: what it lacks or shows otherwise is inspected by the
instance's own pass.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain import event, lease
from functions.domain.compare import compare
from functions.domain.errors import Conflict, ShimIncompatible, ToolboxUnavailable
from functions.domain.instance import DesiredState, Instance
from functions.domain.toolbox import CONTACTED, Toolbox, ToolboxStatus
from functions.lifecycle import converge
from functions.lifecycle.documents import INSTANCES, Loaded, dump, instance_ref, load, recording_toolbox, toolbox_ref
from functions.lifecycle.hold import write
from functions.lifecycle.ports import Ports, Query, Replace, Task
from shim.contract import errors as shim_errors
from shim.contract import messages, routes

log = logging.getLogger(__name__)

HEARTBEAT_EVERY = timedelta(minutes=4)
# The list does not show limits, and the engine forgets that it was told to change them: each is looked at this often.
INSPECT_EVERY = timedelta(hours=1)
STRANGER_GRACE = timedelta(minutes=10)
MAX_INSTANCES = 1_000
MAX_STRANGERS = 100


def look(ports: Ports, toolbox_id: str) -> None:
    """Ask the shim for its list unless it is as last seen; look into what differs; record the contact."""
    found = load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0])
    if found:
        look_at(ports, found)


def look_at(ports: Ports, found: Loaded[Toolbox]) -> None:
    toolbox, began = found.value, ports.now()
    if toolbox.status not in CONTACTED:
        return
    try:
        inspecting = _stale(ports, toolbox) and _overdue(ports, toolbox.inspected_at, INSPECT_EVERY)
        if not inspecting and not _touched(ports, toolbox):
            status, etag = _status(ports, toolbox, toolbox.etag)
            if status is None:
                _record(ports, found, replace(_heard(ports, toolbox), etag=etag))
                return
        # What is compared with a list is read before it, so that nothing newer is judged by something older.
        instances = _instances(ports, toolbox.id)
        status, etag = _status(ports, toolbox, "")
        assert status is not None
        if inspecting:
            status = _with_limits(ports, toolbox, status)
    except (ToolboxUnavailable, shim_errors.OutcomeUnknown) as error:
        log.info("no contact: %s", error, extra={"toolbox": toolbox.id})
        _record(ports, found, replace(toolbox, status=ToolboxStatus.UNRESPONSIVE))
        return
    except (shim_errors.ShimError, ShimIncompatible) as error:
        log.warning("no list: %s", error, extra={"toolbox": toolbox.id})
        return
    if not status.complete:
        return
    heard = replace(_heard(ports, toolbox), inspected_at=began if inspecting else toolbox.inspected_at)
    heard = replace(heard, engine_id=status.engine_id, shim_version=status.version, contract=status.contract)
    _compared(ports, found, replace(heard, etag=etag, listed_at=began), instances, status.containers)


def _compared(
    ports: Ports, found: Loaded[Toolbox], heard: Toolbox, instances: list[Instance], listed: list[messages.Listed]
) -> None:
    differences = compare(instances, listed, suspended=heard.suspended)
    heard = replace(heard, strangers=_strangers(ports, found.value, differences.strangers))
    # An ETag on record means: all that it stands for has been looked into.
    if differences.changed or differences.left or heard.strangers:
        heard = replace(heard, etag="", listed_at=found.value.listed_at)
    if _record(ports, found, heard):
        for instance_id in differences.changed:
            converge.run(ports, Task("instance", instance_id), look=True)


def _touched(ports: Ports, toolbox: Toolbox) -> bool:
    """Whether any of its instances was worked on since the list that the ETag stands for.

    The droplet may have become again what it was then: a container that was started, and stopped by hand.
    """
    if toolbox.listed_at is None:
        return True
    since = toolbox.listed_at - lease.GRACE
    where = (("toolbox_id", "==", toolbox.id), ("updated_at", ">=", since))
    return bool(ports.store.query(Query(INSTANCES, where, "updated_at", limit=1)))


def _status(ports: Ports, toolbox: Toolbox, unless: str, *, limits: bool = False) -> tuple[messages.Status | None, str]:
    start_by = ports.now() + lease.START_BY_MARGIN
    return ports.shims.of(toolbox).status(start_by=start_by, unless=unless, limits=limits)


def _with_limits(ports: Ports, toolbox: Toolbox, status: messages.Status) -> messages.Status:
    """`status`, whose ETag is the one that the next look compares with, and the limits that its containers have."""
    inspected, _ = _status(ports, toolbox, "", limits=True)
    assert inspected is not None
    limits = {one.id: one.limits for one in inspected.containers}
    return replace(status, containers=[replace(one, limits=limits.get(one.id)) for one in status.containers])


def _instances(ports: Ports, toolbox_id: str) -> list[Instance]:
    where = (("toolbox_id", "==", toolbox_id), ("deleted_at", "==", None))
    found = ports.store.query(Query(INSTANCES, where, "created_at", descending=True, limit=MAX_INSTANCES))
    return [loaded.value for snapshot in found if (loaded := load(Instance, snapshot))]


def _heard(ports: Ports, toolbox: Toolbox) -> Toolbox:
    """In contact now; written down at most every four minutes, where nothing else is to be."""
    at = ports.now() if _stale(ports, toolbox) else toolbox.last_heartbeat_at
    return replace(toolbox, status=ToolboxStatus.ACTIVE, last_heartbeat_at=at)


def _stale(ports: Ports, toolbox: Toolbox) -> bool:
    overdue = _overdue(ports, toolbox.last_heartbeat_at, HEARTBEAT_EVERY)
    return overdue or toolbox.status is not ToolboxStatus.ACTIVE


def _overdue(ports: Ports, last: datetime | None, every: timedelta) -> bool:
    return last is None or ports.now() - last >= every


def _record(ports: Ports, found: Loaded[Toolbox], seen: Toolbox) -> bool:
    """Whether `seen` stands on record now. A refusal means that another look was first; the next one sees it."""
    if seen == found.value:
        return True
    after = replace(seen, revision=ports.new_id(), updated_at=ports.now())
    told = event.toolbox_seen(found.value, after, ports.now())
    try:
        ports.store.commit(
            [Replace(toolbox_ref(after.id), dump(after), found.version), *(recording_toolbox(after, e) for e in told)]
        )
    except Conflict:
        log.info("another look was first", extra={"toolbox": after.id})
        return False
    return True


def _strangers(ports: Ports, toolbox: Toolbox, listed: list[messages.Listed]) -> dict[str, datetime]:
    """Containers of ours that no document expects, by when they were first seen.

    One whose instance was deleted is deleted with it again; any other is kept for a time and then stopped.
    """
    since: dict[str, datetime] = {}
    for one in listed[:MAX_STRANGERS]:
        tombstone = load(Instance, ports.store.get([instance_ref(one.instance_id)])[0])
        if tombstone and tombstone.value.toolbox_id == toolbox.id and tombstone.value.deleted_at:
            _delete_again(ports, tombstone, one)
            continue
        since[one.name] = toolbox.strangers.get(one.name, ports.now())
        if ports.now() - since[one.name] >= STRANGER_GRACE and one.state in ("running", "restarting"):
            start_by = ports.now() + lease.START_BY_MARGIN
            ports.shims.of(toolbox).command(routes.STOP, name=one.name, body=messages.Stop(), start_by=start_by)
            log.warning("stopped a container of no instance", extra={"toolbox": toolbox.id, "container": one.name})
    return since


def _delete_again(ports: Ports, tombstone: Loaded[Instance], listed: messages.Listed) -> None:
    """A create that reached the engine after the removal was proven: the wish still is that it be gone."""
    before = tombstone.value
    assert before.desired.state is DesiredState.DELETED
    desired = replace(before.desired, spec_generation=listed.spec_generation)
    observed = replace(before.observed, gone=False, uncertain=True)
    again = replace(before, desired=desired, observed=observed)
    held = write(ports, converge.claimed(ports, again), tombstone, [])
    if held:
        converge.run_held(ports, held)
