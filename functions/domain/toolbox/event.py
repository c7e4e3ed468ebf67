"""The events of a toolbox's history, derived from the toolbox before and after a commit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from functions.domain.account.model import Account, AccountStatus
from functions.domain.event import CONVERGE, Event, digest
from functions.domain.toolbox.droplet import Droplet
from functions.domain.toolbox.model import Toolbox


def requested(before: Toolbox | None, after: Toolbox, verb: str, actor: str, now: datetime) -> Event:
    """Return the event of a request: one for each generation. `before` is None for a new toolbox."""
    old_status = before.status if before else None
    event_id = f"{after.generation:08d}-0-requested"
    return Event(event_id, now, f"{verb}_requested", actor, after.generation, old_status, after.status)


def shim_restart_requested(toolbox: Toolbox, request_id: str, actor: str, now: datetime) -> Event:
    """Return the event of a request to restart the shim; the desired state stays as it is."""
    kind = "shim_restart_requested"
    return Event(f"{kind}-{request_id}", now, kind, actor, toolbox.generation, None, None)


def orphan_droplet_found(toolbox: Toolbox, found: Droplet, now: datetime) -> Event:
    """Return the event of a droplet with the toolbox's name or tag that the toolbox's document does not know."""
    detail = f"droplet {found.id} ({found.name}) belongs to no toolbox; it is not destroyed automatically"
    kind = "orphan_droplet_found"
    return Event(f"{kind}-{digest(found.id)}", now, kind, CONVERGE, toolbox.generation, None, None, detail)


def account_status_applied(toolbox: Toolbox, account: Account, actor: str, now: datetime) -> Event:
    """Return the event of an account's new status that the toolbox follows from now on."""
    kind = "account_resumed" if account.status is AccountStatus.ACTIVE else f"account_{account.status}"
    event_id = f"account-{digest(f'{account.status} {account.since}')}"
    return Event(event_id, now, kind, actor, toolbox.generation, None, None)


def changes(before: Toolbox, after: Toolbox, now: datetime) -> list[Event]:
    """Return the events between two states of a toolbox: `before` is as stored, `after` as it is about to be stored."""
    return [
        Event(f"{kind}-{digest(subject)}", now, kind, CONVERGE, after.generation, old, new, detail)
        for kind, subject, old, new, detail in _changes(before, after)
    ]


# Of an event: its type, what it is about, the values before and after, and its detail.
_Change = tuple[str, str, str | None, str | None, str | None]


def _changes(before: Toolbox, after: Toolbox) -> Iterator[_Change]:
    if before.status is not after.status:
        subject = f"{after.generation} {after.status} {before.last_heartbeat_at}"
        yield "status_changed", subject, before.status, after.status, after.error
    if before.engine_id and before.engine_id != after.engine_id:
        detail = "another Docker Engine answers; the instances are deployed on it again"
        yield "engine_changed", str(after.engine_id), before.engine_id, after.engine_id, detail
    old, new = ({box.droplet_id, *(r.droplet_id for r in box.retired)} - {None} for box in (before, after))
    for droplet_id in sorted(map(str, new - old)):
        yield "droplet_created", droplet_id, None, None, f"droplet {droplet_id}"
    for droplet_id in sorted(map(str, old - new)):
        yield "droplet_destroyed", droplet_id, None, None, f"droplet {droplet_id}"
    if after.certificate and before.certificate != after.certificate:
        detail = f"the shim of droplet {after.droplet_id} has enrolled"
        yield "enrolled", str(after.fingerprint), None, None, detail
    if before.upgrade and not after.upgrade:
        kind = "shim_upgrade_failed" if after.failure_reason else "shim_upgraded"
        yield kind, str(after.generation), before.shim_image, after.shim_image, after.error
    for name in sorted(set(after.orphans) - set(before.orphans)):
        subject = f"{name} {after.orphans[name]}"
        yield "orphan_container_found", subject, None, None, f"container {name} belongs to no instance"
