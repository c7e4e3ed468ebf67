"""A look at one toolbox: one list of its engine, compared with what is on record, and whatever differs looked into.

A list is a hint. Nothing is removed or made anew on its word: what it lacks or shows otherwise is inspected by the
instance's own pass.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain import lease
from functions.domain.errors import ShimIncompatible, ToolboxUnavailable
from functions.domain.instance.container import ListedContainer
from functions.domain.instance.diff import compare
from functions.domain.instance.model import DesiredState, Instance
from functions.domain.toolbox import event
from functions.domain.toolbox.model import CONTACTED, Toolbox, ToolboxStatus
from functions.domain.toolbox.shim import ShimStatus
from functions.lifecycle.dependencies import Dependencies, Query
from functions.lifecycle.reconcile import instance as reconcile_instance
from functions.lifecycle.reconcile.lease import with_lease
from functions.lifecycle.repository import (
    INSTANCES,
    Loaded,
    living_instances,
    load_instance,
    load_toolbox,
    query,
    save,
    stamp,
    toolbox_event,
)
from shim.contract import errors as shim_errors

log = logging.getLogger(__name__)

HEARTBEAT_EVERY = timedelta(minutes=4)
# The list does not show limits, and the engine forgets that it was told to change them: each is looked at this often.
INSPECT_EVERY = timedelta(hours=1)
ORPHAN_GRACE = timedelta(minutes=10)
MAX_INSTANCES = 1_000
MAX_ORPHANS = 100


def inspect(deps: Dependencies, toolbox_id: str) -> None:
    """Ask the shim for its list unless it is as last seen; look into what differs; record the contact."""
    found = load_toolbox(deps, toolbox_id)
    if found:
        inspect_loaded(deps, found)


def inspect_loaded(deps: Dependencies, found: Loaded[Toolbox]) -> None:
    toolbox, began = found.value, deps.now()
    if toolbox.status not in CONTACTED:
        return
    try:
        inspecting = _stale(deps, toolbox) and _overdue(deps, toolbox.inspected_at, INSPECT_EVERY)
        if not inspecting and not _touched(deps, toolbox):
            status, etag = _status(deps, toolbox, toolbox.etag)
            if status is None:
                _record(deps, found, replace(_heard(deps, toolbox), etag=etag))
                return
        # What is compared with a list is read before it, so that nothing newer is judged by something older.
        instances = _instances(deps, toolbox.id)
        status, etag = _status(deps, toolbox, "")
        assert status is not None
        if inspecting:
            status = _with_limits(deps, toolbox, status)
    except (ToolboxUnavailable, shim_errors.OutcomeUnknown) as error:
        log.info("no contact: %s", error, extra={"toolbox": toolbox.id})
        _record(deps, found, replace(toolbox, status=ToolboxStatus.UNRESPONSIVE))
        return
    except (shim_errors.ShimError, ShimIncompatible) as error:
        log.warning("no list: %s", error, extra={"toolbox": toolbox.id})
        return
    if not status.complete:
        return
    heard = replace(_heard(deps, toolbox), inspected_at=began if inspecting else toolbox.inspected_at)
    heard = replace(heard, engine_id=status.engine_id, shim_version=status.version, contract=status.contract)
    _compared(deps, found, replace(heard, etag=etag, listed_at=began), instances, status.containers)


def _compared(
    deps: Dependencies,
    found: Loaded[Toolbox],
    heard: Toolbox,
    instances: list[Instance],
    listed: list[ListedContainer],
) -> None:
    differences = compare(instances, listed, suspended=heard.suspended)
    heard = replace(heard, orphans=_strangers(deps, found.value, differences.orphans))
    # An ETag on record means: all that it stands for has been looked into.
    if differences.changed or differences.unsettled or heard.orphans:
        heard = replace(heard, etag="", listed_at=found.value.listed_at)
    if _record(deps, found, heard):
        for instance_id in differences.changed:
            reconcile_instance.run(deps, instance_id, inspect=True)


def _touched(deps: Dependencies, toolbox: Toolbox) -> bool:
    """Whether any of its instances was worked on since the list that the ETag stands for.

    The droplet may have become again what it was then: a container that was started, and stopped by hand.
    """
    if toolbox.listed_at is None:
        return True
    since = toolbox.listed_at - lease.GRACE
    where = (("toolbox_id", "==", toolbox.id), ("updated_at", ">=", since))
    return bool(deps.store.query(Query(INSTANCES, where, "updated_at", limit=1)))


def _status(
    deps: Dependencies, toolbox: Toolbox, etag: str, *, with_limits: bool = False
) -> tuple[ShimStatus | None, str]:
    start_by = deps.now() + lease.START_BY_MARGIN
    return deps.shims.for_toolbox(toolbox).list_containers(start_by=start_by, etag=etag, with_limits=with_limits)


def _with_limits(deps: Dependencies, toolbox: Toolbox, status: ShimStatus) -> ShimStatus:
    """`status`, whose ETag is the one that the next look compares with, and the limits that its containers have."""
    inspected, _ = _status(deps, toolbox, "", with_limits=True)
    assert inspected is not None
    limits = {one.id: one.limits for one in inspected.containers}
    return replace(status, containers=[replace(one, limits=limits.get(one.id)) for one in status.containers])


def _instances(deps: Dependencies, toolbox_id: str) -> list[Instance]:
    return [found.value for found in query(deps, Instance, living_instances(toolbox_id, MAX_INSTANCES))]


def _heard(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    """In contact now; written down at most every four minutes, where nothing else is to be."""
    at = deps.now() if _stale(deps, toolbox) else toolbox.last_heartbeat_at
    return replace(toolbox, status=ToolboxStatus.ACTIVE, last_heartbeat_at=at)


def _stale(deps: Dependencies, toolbox: Toolbox) -> bool:
    overdue = _overdue(deps, toolbox.last_heartbeat_at, HEARTBEAT_EVERY)
    return overdue or toolbox.status is not ToolboxStatus.ACTIVE


def _overdue(deps: Dependencies, last: datetime | None, every: timedelta) -> bool:
    return last is None or deps.now() - last >= every


def _record(deps: Dependencies, found: Loaded[Toolbox], seen: Toolbox) -> bool:
    """Whether `seen` stands on record now. A refusal means that another look was first; the next one sees it."""
    if seen == found.value:
        return True
    after = stamp(deps, seen)
    events = [toolbox_event(deps, after, one) for one in event.changes(found.value, after, deps.now())]
    if save(deps, after, found, events):
        return True
    log.info("another worker saved this toolbox first", extra={"toolbox": after.id})
    return False


def _strangers(deps: Dependencies, toolbox: Toolbox, listed: list[ListedContainer]) -> dict[str, datetime]:
    """Containers of ours that no document expects, by when they were first seen.

    One whose instance was deleted is deleted with it again; any other is kept for a time and then stopped.
    """
    since: dict[str, datetime] = {}
    for one in listed[:MAX_ORPHANS]:
        tombstone = load_instance(deps, one.instance_id)
        if tombstone and tombstone.value.toolbox_id == toolbox.id and tombstone.value.deleted_at:
            _delete_again(deps, tombstone, one)
            continue
        since[one.name] = toolbox.orphans.get(one.name, deps.now())
        if deps.now() - since[one.name] >= ORPHAN_GRACE and one.state in ("running", "restarting"):
            start_by = deps.now() + lease.START_BY_MARGIN
            deps.shims.for_toolbox(toolbox).stop(one.name, start_by=start_by)
            log.warning("stopped a container of no instance", extra={"toolbox": toolbox.id, "container": one.name})
    return since


def _delete_again(deps: Dependencies, tombstone: Loaded[Instance], listed: ListedContainer) -> None:
    """A create that reached the engine after the removal was proven: the wish still is that it be gone."""
    before = tombstone.value
    assert before.desired.state is DesiredState.DELETED
    desired = replace(before.desired, spec_generation=listed.spec_generation)
    observed = replace(before.observed, absent=False, needs_inspection=True)
    again = replace(before, desired=desired, observed=observed)
    held = save(deps, with_lease(deps, again), tombstone)
    if held:
        reconcile_instance.run_leased(deps, held)
