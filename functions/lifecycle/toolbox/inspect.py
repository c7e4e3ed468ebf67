"""Inspect one toolbox: its engine's list is compared with the documents, and whatever differs is looked into.

A list is a hint. Nothing is created, removed or recorded as absent because of it: each instance whose container is
missing or looks different is inspected in a reconcile pass of its own.

An ETag makes this cheap. While the list is one whose differences were all inspected, the shim's answer is a few bytes,
and only the heartbeat is written.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain import lease
from functions.domain.errors import OF_ONE_DOCUMENT, ShimIncompatible, ToolboxRefused, ToolboxUnavailable
from functions.domain.instance.condition import compare
from functions.domain.instance.container import ListedContainer
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

# A sweep writes nothing else about a toolbox in which nothing has changed.
HEARTBEAT_EVERY = timedelta(minutes=4)
# The engine's list shows no limits, so a `docker update` does not change it: the limits are inspected this often.
INSPECT_EVERY = timedelta(hours=1)
ORPHAN_GRACE = timedelta(minutes=10)
# A toolbox whose last list is older is asked for by itself: in a batch it would have the others' instances read, too.
RECENT_LIST = 2 * HEARTBEAT_EVERY
MAX_CHANGED = 300
MAX_INSTANCES = 1_000
MAX_ORPHANS = 100


def inspect(deps: Dependencies, toolbox_id: str) -> None:
    """Query the shim's list, look into what differs from the documents, and record the contact."""
    found = load_toolbox(deps, toolbox_id)
    if found:
        inspect_loaded(deps, found)


@dataclass(frozen=True, slots=True)
class ChangedInstances:
    """Those toolboxes of a batch of which an instance was written since the list that the ETag stands for."""

    read_at: datetime
    toolbox_ids: frozenset[str]


def inspect_loaded(deps: Dependencies, found: Loaded[Toolbox], batch: ChangedInstances | None = None) -> None:
    """Do the same for a toolbox that was just read, alone or in a `batch`."""
    toolbox, started = found.value, batch.read_at if batch else deps.now()
    if toolbox.status not in CONTACTED:
        return
    try:
        with_limits = _heartbeat_due(deps, toolbox) and _due(deps, toolbox.inspected_at, INSPECT_EVERY)
        changed = toolbox.id in batch.toolbox_ids if batch else _changed_since_list(deps, toolbox)
        if not with_limits and not changed:
            status, etag = _list(deps, toolbox, toolbox.etag)
            if status is None:
                # With a heartbeat the list counts as requested now: it is the same, and so are the documents. A batch
                # then only has to read the instances that were written in the last minutes.
                listed_at = started if _heartbeat_due(deps, toolbox) else toolbox.listed_at
                _record(deps, found, replace(_in_contact(deps, toolbox), etag=etag, listed_at=listed_at))
                return
        # The documents are read before the list, so that nothing newer is compared with something older.
        instances = [loaded.value for loaded in query(deps, Instance, living_instances(toolbox.id, MAX_INSTANCES))]
        status, etag = _list(deps, toolbox)
        assert status is not None
        if with_limits:
            status = _with_limits(deps, toolbox, status)
    except (ToolboxUnavailable, shim_errors.OutcomeUnknown) as error:
        log.info("the toolbox does not answer: %s", error, extra={"toolbox": toolbox.id})
        _record(deps, found, replace(toolbox, status=ToolboxStatus.UNRESPONSIVE))
        return
    except (shim_errors.ShimError, ShimIncompatible, ToolboxRefused) as error:
        log.warning("the containers could not be listed: %s", error, extra={"toolbox": toolbox.id})
        return
    if not status.complete:
        return
    observed = replace(
        _in_contact(deps, toolbox),
        inspected_at=started if with_limits else toolbox.inspected_at,
        engine_id=status.engine_id,
        shim_version=status.version,
        contract=status.contract,
        etag=etag,
        listed_at=started,
    )
    _look_into_differences(deps, found, observed, instances, status.containers)


def _look_into_differences(
    deps: Dependencies,
    found: Loaded[Toolbox],
    observed: Toolbox,
    instances: list[Instance],
    listed: list[ListedContainer],
) -> None:
    differences = compare(instances, listed, suspended=observed.suspended)
    observed = replace(observed, orphans=_handle_orphans(deps, found.value, differences.orphans))
    # A stored ETag means that everything in its list has been looked into.
    if differences.changed or differences.unsettled or observed.orphans:
        observed = replace(observed, etag="", listed_at=found.value.listed_at)
    if _record(deps, found, observed):
        for instance_id in differences.changed:
            try:
                reconcile_instance.run(deps, instance_id, inspect=True)
            except OF_ONE_DOCUMENT:
                log.exception("an instance cannot be reconciled; its neighbours are", extra={"instance": instance_id})


def changed_instances(deps: Dependencies, toolboxes: Sequence[Toolbox], read_at: datetime) -> ChangedInstances:
    """Find out for a batch of at most MAX_IN toolboxes what `_changed_since_list` finds out for one, in one query."""
    recent = {t.id: t.listed_at - lease.GRACE for t in toolboxes if t.listed_at and read_at - t.listed_at < RECENT_LIST}
    changed = {t.id for t in toolboxes if t.id not in recent and _changed_since_list(deps, t)}
    if recent:
        where = (("toolbox_id", "in", [*recent]), ("updated_at", ">=", min(recent.values())))
        search = Query(INSTANCES, where, "updated_at", limit=MAX_CHANGED, fields=("toolbox_id", "updated_at"))
        found = [snapshot.data for snapshot in deps.store.query(search)]
        # Where there are more than the limit, nobody knows whose they are.
        changed |= {d["toolbox_id"] for d in found if d["updated_at"] >= recent[d["toolbox_id"]]}
        changed |= {*recent} if len(found) == MAX_CHANGED else set()
    return ChangedInstances(read_at, frozenset(changed))


def _changed_since_list(deps: Dependencies, toolbox: Toolbox) -> bool:
    """Whether an instance was written since the list that the ETag stands for.

    The list may be the same again although a document has changed: a container that was started by the control plane
    and then stopped by hand looks as it did before.
    """
    if toolbox.listed_at is None:
        return True
    since = toolbox.listed_at - lease.GRACE
    where = (("toolbox_id", "==", toolbox.id), ("updated_at", ">=", since))
    return bool(deps.store.query(Query(INSTANCES, where, "updated_at", limit=1, fields=("updated_at",))))


def _list(
    deps: Dependencies, toolbox: Toolbox, etag: str = "", *, with_limits: bool = False
) -> tuple[ShimStatus | None, str]:
    start_by = lease.start_by_without_lease(deps.now())
    return deps.shims.for_toolbox(toolbox).list_containers(start_by=start_by, etag=etag, with_limits=with_limits)


def _with_limits(deps: Dependencies, toolbox: Toolbox, status: ShimStatus) -> ShimStatus:
    """Return `status` with the limits of its containers.

    They are queried separately, since a list with limits has another ETag than the one that the next inspection asks
    with.
    """
    inspected, _ = _list(deps, toolbox, with_limits=True)
    assert inspected is not None
    limits = {container.id: container.limits for container in inspected.containers}
    containers = [replace(container, limits=limits.get(container.id)) for container in status.containers]
    return replace(status, containers=containers)


def _in_contact(deps: Dependencies, toolbox: Toolbox) -> Toolbox:
    at = deps.now() if _heartbeat_due(deps, toolbox) else toolbox.last_heartbeat_at
    return replace(toolbox, status=ToolboxStatus.ACTIVE, last_heartbeat_at=at)


def _heartbeat_due(deps: Dependencies, toolbox: Toolbox) -> bool:
    return toolbox.status is not ToolboxStatus.ACTIVE or _due(deps, toolbox.last_heartbeat_at, HEARTBEAT_EVERY)


def _due(deps: Dependencies, last: datetime | None, every: timedelta) -> bool:
    return last is None or deps.now() - last >= every


def _record(deps: Dependencies, found: Loaded[Toolbox], observed: Toolbox) -> bool:
    """Save what was observed. False where another writer was first: the next inspection compares with its version."""
    if observed == found.value:
        return True
    after = stamp(deps, observed)
    events = [toolbox_event(deps, after, new) for new in event.changes(found.value, after, deps.now())]
    if save(deps, after, found, events):
        return True
    log.info("another worker saved this toolbox first", extra={"toolbox": after.id})
    return False


def _handle_orphans(deps: Dependencies, toolbox: Toolbox, orphans: list[ListedContainer]) -> dict[str, datetime]:
    """Return the names of the orphan containers, with the time when each was first observed.

    A container whose instance was deleted is deleted again. Any other is stopped after a grace period and never
    removed, since nothing says what is in it.
    """
    first_observed: dict[str, datetime] = {}
    for orphan in orphans[:MAX_ORPHANS]:
        try:
            tombstone = load_instance(deps, orphan.instance_id)
            if tombstone and tombstone.value.toolbox_id == toolbox.id and tombstone.value.deleted_at:
                _delete_again(deps, tombstone, orphan)
                continue
        except OF_ONE_DOCUMENT:
            log.exception("the instance of an orphan cannot be read or saved", extra={"instance": orphan.instance_id})
            first_observed[orphan.name] = toolbox.orphans.get(orphan.name, deps.now())
            continue
        since = toolbox.orphans.get(orphan.name, deps.now())
        first_observed[orphan.name] = since
        if deps.now() - since >= ORPHAN_GRACE and orphan.state in ("running", "restarting"):
            deps.shims.for_toolbox(toolbox).stop(orphan.name, start_by=lease.start_by_without_lease(deps.now()))
            log.warning("stopped an orphan container", extra={"toolbox": toolbox.id, "container": orphan.name})
    return first_observed


def _delete_again(deps: Dependencies, tombstone: Loaded[Instance], orphan: ListedContainer) -> None:
    """Delete a container that was created after its instance's removal was proven, by a command that came late."""
    before = tombstone.value
    assert before.desired.state is DesiredState.DELETED
    desired = replace(before.desired, spec_generation=orphan.spec_generation)
    observed = replace(before.observed, absent=False, needs_inspection=True)
    leased = save(deps, with_lease(deps, replace(before, desired=desired, observed=observed)), tombstone)
    if leased:
        reconcile_instance.run_leased(deps, leased)
