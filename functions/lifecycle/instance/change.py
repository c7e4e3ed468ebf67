"""Requests about an existing instance: the desired state is recorded, then reached within the request.

Recording comes first and is one commit, so that a request whose worker dies is finished by the next worker. Where
another worker holds the lease, only the desired state is written: the holder's next save fails its compare-and-set, and
it continues with the new desired state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from functions.domain import lease
from functions.domain.account.model import Caller
from functions.domain.errors import Contended, NotAllowedNow, NotFound
from functions.domain.instance import event, host_port
from functions.domain.instance.container import Port
from functions.domain.instance.model import DesiredState, Instance
from functions.domain.instance.request import request_spec, request_state
from functions.domain.instance.spec import Spec
from functions.lifecycle.account.admission import require_active, require_quota
from functions.lifecycle.dependencies import Dependencies, Write
from functions.lifecycle.idempotency import WITHOUT_KEY, CommitHook, save_intent
from functions.lifecycle.instance import secrets as instance_secrets
from functions.lifecycle.instance.read import WAIT_SECONDS, find
from functions.lifecycle.reconcile.driver import PassOptions
from functions.lifecycle.reconcile.instance import reconcile
from functions.lifecycle.reconcile.lease import with_lease
from functions.lifecycle.repository import (
    instance_event,
    load_instance,
    load_toolbox,
    refuse_reserved_ports,
    require_spec_size,
    reserve,
    save,
    stamp,
    update_with_retry,
)

# Requests that start nothing, and so are allowed while the account is suspended.
ALLOWED_WHILE_SUSPENDED = ("stop", "delete", "rotate")
REQUEST_BUDGET = timedelta(seconds=25)


@dataclass(frozen=True, slots=True)
class InstanceRequest:
    """Who requests it, and for which instance (id or name); `commit` is the hook of the request's idempotency key."""

    caller: Caller
    toolbox_id: str
    key: str
    commit: CommitHook = WITHOUT_KEY


@dataclass(frozen=True, slots=True)
class Changes:
    """A change of an instance's spec.

    respec   makes the new spec of the present one
    ports    the new port mappings, None to keep them; a host port of 0 or 30000 is to be allocated
    secrets  all secret variables that there are to be, None to keep them; a value of None keeps the stored value
    """

    respec: Callable[[Spec], Spec]
    ports: Sequence[Port] | None = None
    secrets: Mapping[str, str | None] | None = field(default=None, repr=False)


def start(deps: Dependencies, request: InstanceRequest) -> Instance:
    """Request the desired state `running`."""
    return change(deps, request, "start", lambda instance: request_state(instance, DesiredState.RUNNING))


def stop(deps: Dependencies, request: InstanceRequest) -> Instance:
    """Request the desired state `stopped`."""
    return change(deps, request, "stop", lambda instance: request_state(instance, DesiredState.STOPPED))


def restart(deps: Dependencies, request: InstanceRequest) -> Instance:
    """Request the desired state `running` in a container that is started after this request."""
    return change(deps, request, "restart", lambda instance: request_state(instance, DesiredState.RUNNING, fresh=True))


def delete(deps: Dependencies, request: InstanceRequest) -> Instance:
    """Request the desired state `deleted`."""
    return change(deps, request, "delete", lambda instance: request_state(instance, DesiredState.DELETED))


def update(deps: Dependencies, request: InstanceRequest, changes: Changes, verb: str = "update") -> Instance:
    """Change the spec; the container of the present one is replaced once the new one is proven.

    Raises PortTaken where a requested host port is reserved by another instance, NotAllowedNow during an update,
    QuotaExceeded, PayloadTooLarge.
    """

    def with_changes(instance: Instance) -> Instance:
        if instance.previous_version:
            raise NotAllowedNow(
                f"Instance {instance.name!r} is being updated. Wait until it is running, then try again."
            )
        spec = changes.respec(instance.spec)
        if changes.ports is not None:
            spec = host_port.allocate(spec, changes.ports, instance.spec.ports, deps.draw)
        if changes.secrets is not None:
            spec = instance_secrets.set_secrets(deps.vault, instance, spec, changes.secrets)
        require_quota(deps, instance.account, spec, instead_of=instance.spec)
        instance_secrets.require_variables(deps.vault, instance, spec)
        return require_spec_size(deps, request_spec(instance, spec))

    try:
        return change(deps, request, verb, with_changes, lambda before, after: reserve(after, before))
    except Contended:
        _, found = find(deps, request.caller, request.toolbox_id, request.key)
        refuse_reserved_ports(deps, found.value.toolbox_id, changes.ports or [], found.value.id)
        raise


def replace_secrets(deps: Dependencies, request: InstanceRequest, values: Mapping[str, str]) -> Instance:
    """Give the secret variables named in `values` these values and keep the others; the container is replaced."""
    _, found = find(deps, request.caller, request.toolbox_id, request.key)
    stored = found.value.spec.secrets.names if found.value.spec.secrets else []
    merged: dict[str, str | None] = {**dict.fromkeys(stored), **values}
    return update(deps, request, Changes(lambda spec: spec, secrets=merged), "rotate")


def change(
    deps: Dependencies,
    request: InstanceRequest,
    verb: str,
    with_change: Callable[[Instance], Instance],
    more_writes: Callable[[Instance, Instance], list[Write]] = lambda before, after: [],
) -> Instance:
    """Record the change that `with_change` makes, with the lease where it is free, and reconcile.

    `more_writes` makes further writes of the commit from the instance before and after.
    """
    until = deps.now() + REQUEST_BUDGET

    def attempt() -> Instance:
        toolbox, found = find(deps, request.caller, request.toolbox_id, request.key)
        if verb not in ALLOWED_WHILE_SUSPENDED:
            require_active(toolbox)
        changed = with_change(_changeable(found.value, verb))
        free = lease.is_free(found.value.lease, deps.now())
        intent = with_lease(deps, changed) if free else stamp(deps, replace(changed, due_at=deps.now()))
        requested = event.requested(found.value, intent, verb, request.caller.subject, deps.now())
        writes = [instance_event(deps, intent, requested), *more_writes(found.value, intent)]
        saved = save_intent(deps, request.commit, intent, found, writes)
        if free:
            return reconcile(deps, saved, toolbox, PassOptions(until, on_settled=settling(request.commit)))
        return wait_for_holder(deps, saved.value, until)

    return update_with_retry(deps, attempt, f"Instance {request.key!r} is being changed by other requests. Try again.")


def _changeable(instance: Instance, verb: str) -> Instance:
    if instance.desired.state is DesiredState.DELETED and verb != "delete":
        raise NotAllowedNow(f"Instance {instance.name!r} is being deleted. Deploy a new one.")
    return instance


def settling(commit: CommitHook) -> Callable[[Instance], Sequence[Write]]:
    """Store the request's answer in the commit that settles the instance."""
    return lambda instance: commit.settled(instance.id, instance)


def resume(deps: Dependencies, instance_id: str) -> Instance:
    """Reconcile an instance for a repeated request whose first worker died. Raises NotFound."""
    until = deps.now() + REQUEST_BUDGET
    found = load_instance(deps, instance_id)
    if found is None:
        raise NotFound(f"There is no instance {instance_id!r}.")
    if found.value.settled or not lease.is_free(found.value.lease, deps.now()):
        return wait_for_holder(deps, found.value, until)
    toolbox = load_toolbox(deps, found.value.toolbox_id)
    leased = save(deps, with_lease(deps, found.value), found)
    if leased and toolbox:
        return reconcile(deps, leased, toolbox.value, PassOptions(until))
    return wait_for_holder(deps, found.value, until)


def wait_for_holder(deps: Dependencies, instance: Instance, until: datetime) -> Instance:
    """Another worker holds the lease and takes the change up at its next save: wait until it has settled it."""
    current = instance
    while not current.settled and deps.now() < until:
        deps.pause(WAIT_SECONDS)
        found = load_instance(deps, instance.id)
        current = found.value if found else current
    return current
