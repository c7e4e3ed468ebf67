"""What an account asks of an instance: the intent is written, then made so within the request's time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from functions.domain import event, lease
from functions.domain.account.caller import Caller
from functions.domain.errors import Contended, NotAllowedNow, NotFound
from functions.domain.instance.container import Port
from functions.domain.instance.model import DesiredState, Instance
from functions.domain.instance.request import request_spec, request_state
from functions.domain.instance.spec import Spec
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account.admission import require_active, require_quota
from functions.lifecycle.dependencies import Dependencies, Write
from functions.lifecycle.idempotency import EarlierAttempt, Replay, find_earlier
from functions.lifecycle.instance import host_ports
from functions.lifecycle.instance import secrets as instance_secrets
from functions.lifecycle.instance.read import WAIT_SECONDS, find
from functions.lifecycle.reconcile.instance import PassOptions, converge, with_lease
from functions.lifecycle.reconcile.lease import ATTEMPTS, LeaseHolder, pause_before_retry, save, stamp
from functions.lifecycle.repository import Loaded, decode, instance_event, instance_ref, reserve, toolbox_ref

# What may be asked of an instance whose account is suspended: nothing of it comes to run by that.
ALLOWED_WHILE_SUSPENDED = ("stop", "delete", "rotate")
REQUEST_BUDGET = timedelta(seconds=25)

# An instance as it stands now, or the (status, body) that the same request was answered with before.
Answer = Instance | tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class InstanceRequest:
    """Who asks for which instance (id or name), and under which Idempotency-Key."""

    caller: Caller
    toolbox_id: str
    key: str
    replay: Replay[Instance] | None = None


def start(deps: Dependencies, asked: InstanceRequest) -> Answer:
    return change(deps, asked, "start", lambda i: request_state(i, DesiredState.RUNNING))


def stop(deps: Dependencies, asked: InstanceRequest) -> Answer:
    return change(deps, asked, "stop", lambda i: request_state(i, DesiredState.STOPPED))


def restart(deps: Dependencies, asked: InstanceRequest) -> Answer:
    return change(deps, asked, "restart", lambda i: request_state(i, DesiredState.RUNNING, fresh=True))


def delete(deps: Dependencies, asked: InstanceRequest) -> Answer:
    return change(deps, asked, "delete", lambda i: request_state(i, DesiredState.DELETED))


def change(
    deps: Dependencies,
    asked: InstanceRequest,
    verb: str,
    ask: Callable[[Instance], Instance],
    also: Callable[[Instance, Instance], list[Write]] = lambda before, after: [],
) -> Answer:
    """Write the intent, with the lease where it is free, and converge; else let the holder take it up.

    `also`: what else the commit must hold, of the instance before and after.
    """
    until = deps.now() + REQUEST_BUDGET
    for attempt in range(ATTEMPTS):
        known, expired = find_earlier(deps, asked.replay)
        if known:
            return answer_repeat(deps, known, until)
        try:
            toolbox, found = find(deps, asked.caller, asked.toolbox_id, asked.key)
            if verb not in ALLOWED_WHILE_SUSPENDED:
                require_active(toolbox)
            wanted = _wanted(found.value, verb, ask)
        except (NotFound, NotAllowedNow):
            # What stands in the way may be this request's own first attempt.
            known, _ = find_earlier(deps, asked.replay)
            if known:
                return answer_repeat(deps, known, until)
            raise
        free = lease.is_free(found.value.lease, deps.now())
        intent = with_lease(deps, wanted) if free else stamp(deps, replace(wanted, due_at=deps.now()))
        told = event.requested(found.value, intent, verb, asked.caller.subject, deps.now())
        writes = [instance_event(intent, told), *also(found.value, intent)]
        writes += [asked.replay.asked(intent.id, deps.now(), expired)] if asked.replay else []
        written = save(deps, intent, found, writes)
        if written and free:
            return converge(deps, LeaseHolder(deps, written), toolbox, PassOptions(until, replay=asked.replay))
        if written:
            return wait_for_holder(deps, written.value, until)
        pause_before_retry(deps, attempt)
    raise Contended(f"instance {asked.key!r} is being changed by others; ask again")


def _wanted(instance: Instance, verb: str, ask: Callable[[Instance], Instance]) -> Instance:
    if instance.desired.state is DesiredState.DELETED and verb != "delete":
        raise NotAllowedNow(f"instance {instance.name!r} is being deleted")
    return ask(instance)


def answer_repeat(deps: Dependencies, known: EarlierAttempt, until: datetime) -> Answer:
    """The stored answer; or, where the first attempt has none, what it wanted is made so and answered as it stands."""
    if known.answer:
        return known.answer
    found = decode(Instance, deps.store.get([instance_ref(known.about)])[0])
    if found is None:
        raise NotFound(f"there is no instance {known.about}")
    return _joined(deps, found, until)


def _joined(deps: Dependencies, found: Loaded[Instance], until: datetime) -> Instance:
    if found.value.settled or not lease.is_free(found.value.lease, deps.now()):
        return wait_for_holder(deps, found.value, until)
    toolbox = decode(Toolbox, deps.store.get([toolbox_ref(found.value.toolbox_id)])[0])
    held = save(deps, with_lease(deps, found.value), found, [])
    if held and toolbox:
        return converge(deps, LeaseHolder(deps, held), toolbox.value, PassOptions(until))
    return wait_for_holder(deps, found.value, until)


def wait_for_holder(deps: Dependencies, asked: Instance, until: datetime) -> Instance:
    """Another worker holds the lease and takes the intent up at its next save; see it do so."""
    current = asked
    while not current.settled and deps.now() < until:
        deps.pause(WAIT_SECONDS)
        loaded = decode(Instance, deps.store.get([instance_ref(asked.id)])[0])
        current = loaded.value if loaded else current
    return current


# Another spec for an instance: the keys that are sent replace what stood there, the rest stays.


@dataclass(frozen=True, slots=True)
class Changes:
    """`respec` makes the new spec of the old one; `ports`, where sent, may hold 0 or 30000: to be chosen.

    `secrets`, where sent, are all secret variables that there are to be; of None the value that is kept.
    """

    respec: Callable[[Spec], Spec]
    ports: Sequence[Port] | None = None
    secrets: Mapping[str, str | None] | None = field(default=None, repr=False)


def update(deps: Dependencies, asked: InstanceRequest, changes: Changes, verb: str = "update") -> Answer:
    """Raises PortTaken where a host port that was asked for is another instance's, NotAllowedNow during an update."""

    def ask(instance: Instance) -> Instance:
        if instance.previous_version:
            raise NotAllowedNow(f"instance {instance.name!r} is being updated; wait until that has ended")
        spec = changes.respec(instance.spec)
        if changes.ports is not None:
            spec = host_ports.allocate(deps, spec, changes.ports, instance.spec.ports)
        if changes.secrets is not None:
            spec = instance_secrets.set_secrets(deps.vault, instance, spec, changes.secrets)
        require_quota(deps, instance.account, spec, instead_of=instance.spec)
        instance_secrets.require_size(deps.vault, instance, spec)
        return request_spec(instance, spec)

    try:
        return change(deps, asked, verb, ask, lambda before, after: reserve(after, before))
    except Contended:
        _, found = find(deps, asked.caller, asked.toolbox_id, asked.key)
        host_ports.refuse_reserved(deps, found.value.toolbox_id, changes.ports or [], but=found.value.id)
        raise


def replace_secrets(deps: Dependencies, asked: InstanceRequest, values: Mapping[str, str]) -> Answer:
    """The secret variables named in `values` get these, the others stay; the container is made anew and proven."""

    def merged(instance: Instance) -> dict[str, str | None]:
        kept = instance.spec.secrets.names if instance.spec.secrets else []
        return {**dict.fromkeys(kept), **values}

    _, found = find(deps, asked.caller, asked.toolbox_id, asked.key)
    return update(deps, asked, Changes(lambda spec: spec, secrets=merged(found.value)), "rotate")
