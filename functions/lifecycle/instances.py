"""What an account asks of its instances, and what they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from functions.domain import event, lease
from functions.domain.errors import Contended, NotAllowedNow, NotFound
from functions.domain.instance import DesiredState, Instance, want, want_restart
from functions.domain.toolbox import Toolbox
from functions.lifecycle.converge import Budget, claimed, converge
from functions.lifecycle.documents import (
    INSTANCES,
    Loaded,
    instance_ref,
    load,
    name_ref,
    recording,
    toolbox_ref,
)
from functions.lifecycle.hold import ATTEMPTS, Hold, backoff, stamped, write
from functions.lifecycle.ports import Ports, Query
from shim import protocol

REQUEST_BUDGET = timedelta(seconds=25)
WAIT_SECONDS = 0.25


def start(ports: Ports, account: str, toolbox_id: str, key: str) -> Instance:
    return _change(ports, account, toolbox_id, key, "start", lambda i: want(i, DesiredState.RUNNING))


def stop(ports: Ports, account: str, toolbox_id: str, key: str) -> Instance:
    return _change(ports, account, toolbox_id, key, "stop", lambda i: want(i, DesiredState.STOPPED))


def restart(ports: Ports, account: str, toolbox_id: str, key: str) -> Instance:
    return _change(ports, account, toolbox_id, key, "restart", want_restart)


def delete(ports: Ports, account: str, toolbox_id: str, key: str) -> Instance:
    return _change(ports, account, toolbox_id, key, "delete", lambda i: want(i, DesiredState.DELETED))


def get(ports: Ports, account: str, toolbox_id: str, key: str) -> Instance:
    return find(ports, account, toolbox_id, key)[1].value


def page(ports: Ports, account: str, toolbox_id: str, limit: int, after: tuple[object, str] | None) -> list[Instance]:
    """The toolbox's instances, newest first, at most `limit`, those that follow `after` (created_at, id)."""
    owned(account, toolbox_id, load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0]))
    where = (("toolbox_id", "==", toolbox_id), ("deleted_at", "==", None))
    found = ports.store.query(Query(INSTANCES, where, "created_at", descending=True, limit=limit, after=after))
    return [loaded.value for snapshot in found if (loaded := load(Instance, snapshot))]


def find(ports: Ports, account: str, toolbox_id: str, key: str) -> tuple[Toolbox, Loaded[Instance]]:
    """The toolbox and its instance by id or name. Raises NotFound, the same for what is not there or not theirs."""
    by_id = protocol.UUID.fullmatch(key) is not None
    second = instance_ref(key) if by_id else name_ref(toolbox_id, key)
    first_found, found = ports.store.get([toolbox_ref(toolbox_id), second])
    toolbox = owned(account, toolbox_id, load(Toolbox, first_found))
    if found and not by_id:
        [found] = ports.store.get([instance_ref(found.data["instance_id"])])
    instance = load(Instance, found)
    if instance is None or instance.value.toolbox_id != toolbox.id or instance.value.account != account:
        raise NotFound(f"toolbox {toolbox_id} has no instance {key!r}")
    if instance.value.deleted_at:
        raise NotFound(f"toolbox {toolbox_id} has no instance {key!r}")
    return toolbox, instance


def owned(account: str, toolbox_id: str, toolbox: Loaded[Toolbox] | None) -> Toolbox:
    if toolbox is None or toolbox.value.account != account:
        raise NotFound(f"there is no toolbox {toolbox_id!r}")
    return toolbox.value


def _change(
    ports: Ports, account: str, toolbox_id: str, key: str, verb: str, ask: Callable[[Instance], Instance]
) -> Instance:
    """Write the intent, with the lease where it is free, and converge; else let the holder take it up."""
    until = ports.now() + REQUEST_BUDGET
    for attempt in range(ATTEMPTS):
        toolbox, found = find(ports, account, toolbox_id, key)
        if found.value.desired.state is DesiredState.DELETED and verb != "delete":
            raise NotAllowedNow(f"instance {found.value.name!r} is being deleted")
        free = lease.is_free(found.value.lease, ports.now())
        asked = claimed(ports, ask(found.value)) if free else stamped(ports, ask(found.value))
        request = event.requested(found.value, asked, verb, account, ports.now())
        written = write(ports, asked, found, [recording(asked, request)])
        if written and free:
            return converge(ports, Hold(ports, written), toolbox, Budget(until, slow=False))
        if written:
            return _wait(ports, written.value, until)
        backoff(ports, attempt)
    raise Contended(f"instance {key!r} is being changed by others; ask again")


def _wait(ports: Ports, asked: Instance, until: datetime) -> Instance:
    """Another worker holds the lease and takes the intent up at its next save; watch it do so."""
    current = asked
    while not current.settled and ports.now() < until:
        ports.pause(WAIT_SECONDS)
        loaded = load(Instance, ports.store.get([instance_ref(asked.id)])[0])
        current = loaded.value if loaded else current
    return current
