"""A new instance: its name and host ports are reserved in the commit that records it, then its container is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from functions.domain.account.model import Caller
from functions.domain.errors import Conflict, NameTaken, NotAllowedNow
from functions.domain.instance import event, host_port
from functions.domain.instance.model import CatalogEntry, Desired, DesiredState, Instance
from functions.domain.instance.spec import Spec
from functions.domain.toolbox.model import LEAVING, Toolbox
from functions.lifecycle.account.admission import require_active, require_quota
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import WITHOUT_KEY, CommitHook, save_intent
from functions.lifecycle.instance import secrets as instance_secrets
from functions.lifecycle.instance.capacity import require_room
from functions.lifecycle.instance.change import REQUEST_BUDGET, settling
from functions.lifecycle.instance.read import owned
from functions.lifecycle.reconcile.driver import PassOptions
from functions.lifecycle.reconcile.instance import reconcile
from functions.lifecycle.reconcile.lease import with_lease
from functions.lifecycle.repository import (
    instance_event,
    load_toolbox,
    name_ref,
    refuse_reserved_ports,
    require_spec_size,
    reserve,
    update_with_retry,
)


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A deploy as requested.

    name     in Unicode's normal form C
    spec     a host port of 0 or 30000 in it is to be allocated
    secrets  in plain text
    """

    name: str
    spec: Spec
    catalogue: CatalogEntry
    start: bool = True
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)


def deploy(
    deps: Dependencies, caller: Caller, toolbox_id: str, new: NewInstance, commit: CommitHook = WITHOUT_KEY
) -> Instance:
    """Record the new instance and reconcile it within the request.

    Raises BadRequest, NameTaken, PortTaken, NoRoom, QuotaExceeded, AccountNotActive, NotAllowedNow, PayloadTooLarge.
    """
    toolbox = owned(caller, toolbox_id, load_toolbox(deps, toolbox_id))
    if toolbox.status in LEAVING:
        raise NotAllowedNow(f"Toolbox {toolbox.name!r} is {toolbox.status}. Deploy on another one.")
    require_active(toolbox)
    until = deps.now() + REQUEST_BUDGET
    admitted = False

    def attempt() -> Instance:
        nonlocal admitted
        if not admitted:
            require_quota(deps, toolbox.account, new.spec)
            require_room(deps, toolbox, new.spec)
            admitted = True
        instance = with_lease(deps, _drafted(deps, toolbox, new))
        requested = event.requested(None, instance, "deploy", caller.subject, deps.now())
        writes = [*reserve(instance), instance_event(deps, instance, requested)]
        try:
            leased = save_intent(deps, commit, instance, None, writes)
        except Conflict:
            _refuse_taken(deps, toolbox.id, new)
            raise
        return reconcile(deps, leased, toolbox, PassOptions(until, on_settled=settling(commit)))

    return update_with_retry(deps, attempt, "No free host port was found. Try again, or delete an instance with ports.")


def _drafted(deps: Dependencies, toolbox: Toolbox, new: NewInstance) -> Instance:
    now = deps.now()
    drafted = Instance(
        id=deps.new_id(),
        toolbox_id=toolbox.id,
        account=toolbox.account,
        name=new.name,
        spec=host_port.allocate(new.spec, new.spec.ports, (), deps.draw),
        desired=Desired(DesiredState.RUNNING if new.start else DesiredState.STOPPED),
        created_at=now,
        updated_at=now,
        catalogue=new.catalogue,
    )
    spec = instance_secrets.set_secrets(deps.vault, drafted, drafted.spec, new.secrets)
    instance_secrets.require_variables(deps.vault, drafted, spec)
    return require_spec_size(deps, replace(drafted, spec=spec))


def _refuse_taken(deps: Dependencies, toolbox_id: str, new: NewInstance) -> None:
    """The commit was refused: raise with the holder's name, or return where only an allocated port was taken."""
    [name] = deps.store.get([name_ref(toolbox_id, new.name)])
    if name:
        raise NameTaken(
            f"The name {new.name!r} is taken on this toolbox by instance {name.data['instance_id']}. Use another."
        )
    refuse_reserved_ports(deps, toolbox_id, new.spec.ports)
