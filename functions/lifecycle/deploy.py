"""A new instance: its name and host ports claimed in the commit that records it, then brought up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from functions.domain import event
from functions.domain.caller import Caller
from functions.domain.errors import Contended, NameTaken, NotAllowedNow
from functions.domain.instance import Catalogue, Desired, DesiredState, Instance
from functions.domain.spec import Spec
from functions.domain.toolbox import LEAVING, Toolbox
from functions.lifecycle import host_ports, secrets
from functions.lifecycle.change import REQUEST_BUDGET, Answer, repeated
from functions.lifecycle.converge import Errand, claimed, converge
from functions.lifecycle.documents import claiming, load, name_ref, recording, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, Hold, write
from functions.lifecycle.instances import owned
from functions.lifecycle.ports import Ports
from functions.lifecycle.quota import require_quota
from functions.lifecycle.replay import Replay, recall
from functions.lifecycle.room import require_room
from functions.lifecycle.standing import refuse_unless_active


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A deploy as asked: in `spec`, a host port of 0 or 30000 is to be chosen. `name` is NFC. `secrets` are plain."""

    name: str
    spec: Spec
    catalogue: Catalogue
    start: bool = True
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)


def deploy(
    ports: Ports, caller: Caller, toolbox_id: str, new: NewInstance, replay: Replay[Instance] | None = None
) -> Answer:
    """Record the new instance and bring it up. Raises BadRequest, NameTaken, PortTaken, NoRoom, QuotaExceeded."""
    toolbox = owned(caller, toolbox_id, load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0]))
    if toolbox.status in LEAVING:
        raise NotAllowedNow(f"toolbox {toolbox.name!r} is {toolbox.status}")
    refuse_unless_active(toolbox)
    until = ports.now() + REQUEST_BUDGET
    for attempt in range(ATTEMPTS):
        known, expired = recall(ports, replay)
        if known:
            return repeated(ports, known, until)
        if attempt == 0:
            require_quota(ports, toolbox.account, new.spec)
            require_room(ports, toolbox, new.spec)
        instance = claimed(ports, _drafted(ports, toolbox, new))
        asked = event.requested(None, instance, "deploy", caller.subject, ports.now())
        writes = [*claiming(instance), recording(instance, asked)]
        writes += [replay.asked(instance.id, ports.now(), expired)] if replay else []
        held = write(ports, instance, None, writes)
        if held:
            return converge(ports, Hold(ports, held), toolbox, Errand(until, replay=replay))
        if replay is None or not recall(ports, replay)[0]:
            _refuse_taken(ports, toolbox.id, new)
    raise Contended("no free host port was found; ask again")


def _drafted(ports: Ports, toolbox: Toolbox, new: NewInstance) -> Instance:
    now = ports.now()
    drafted = Instance(
        id=ports.new_id(),
        toolbox_id=toolbox.id,
        account=toolbox.account,
        name=new.name,
        spec=host_ports.mapped(ports, new.spec, new.spec.ports),
        desired=Desired(DesiredState.RUNNING if new.start else DesiredState.STOPPED),
        created_at=now,
        updated_at=now,
        catalogue=new.catalogue,
    )
    spec = secrets.set_secrets(ports.vault, drafted, drafted.spec, new.secrets)
    secrets.require_fit(ports.vault, drafted, spec)
    return replace(drafted, spec=spec)


def _refuse_taken(ports: Ports, toolbox_id: str, new: NewInstance) -> None:
    """The commit was refused: say by whose claim, or return where only a drawn port was taken."""
    [name] = ports.store.get([name_ref(toolbox_id, new.name)])
    if name:
        raise NameTaken(f"an instance named {new.name!r} exists on this toolbox: {name.data['instance_id']}")
    host_ports.refuse_taken(ports, toolbox_id, new.spec.ports)
