"""A new instance: its name and host ports claimed in the commit that records it, then brought up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from functions.domain import event
from functions.domain.errors import Contended, NameTaken, NotAllowedNow, PortTaken
from functions.domain.instance import Catalogue, Desired, DesiredState, Instance
from functions.domain.spec import Spec
from functions.domain.toolbox import LEAVING, Toolbox
from functions.lifecycle.converge import Budget, claimed, converge
from functions.lifecycle.documents import claiming, load, name_ref, port_ref, recording, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, Hold, write
from functions.lifecycle.instances import REQUEST_BUDGET, owned
from functions.lifecycle.ports import Ports
from shim import protocol
from shim.protocol import messages

# What the existing frontend sends where it does not care, and the shim's own.
ANY_HOST_PORT = (0, protocol.PORT)


@dataclass(frozen=True, slots=True)
class NewInstance:
    """A deploy as asked: in `spec`, a host port of 0 or 30000 is to be chosen. `name` is NFC."""

    name: str
    spec: Spec
    catalogue: Catalogue
    start: bool = True


def deploy(ports: Ports, account: str, toolbox_id: str, new: NewInstance) -> Instance:
    """Record the new instance with its name and host ports, and bring it up. Raises NameTaken, PortTaken."""
    toolbox = owned(account, toolbox_id, load(Toolbox, ports.store.get([toolbox_ref(toolbox_id)])[0]))
    if toolbox.status in LEAVING:
        raise NotAllowedNow(f"toolbox {toolbox.name!r} is {toolbox.status}")
    until = ports.now() + REQUEST_BUDGET
    for _ in range(ATTEMPTS):
        instance = claimed(ports, _drafted(ports, toolbox, new))
        asked = event.requested(None, instance, "deploy", account, ports.now())
        held = write(ports, instance, None, [*claiming(instance), recording(instance, asked)])
        if held:
            return converge(ports, Hold(ports, held), toolbox, Budget(until, slow=False))
        _refuse_taken(ports, toolbox.id, new)
    raise Contended("no free host port was found; ask again")


def _drafted(ports: Ports, toolbox: Toolbox, new: NewInstance) -> Instance:
    now = ports.now()
    chosen = _with_host_ports(ports, new.spec.ports)
    return Instance(
        id=ports.new_id(),
        toolbox_id=toolbox.id,
        account=toolbox.account,
        name=new.name,
        spec=replace(new.spec, ports=chosen),
        desired=Desired(DesiredState.RUNNING if new.start else DesiredState.STOPPED),
        created_at=now,
        updated_at=now,
        catalogue=new.catalogue,
    )


def _with_host_ports(ports: Ports, asked: Iterable[messages.Port]) -> list[messages.Port]:
    """Each port with a host port, drawn at random where none was asked for; none twice."""
    asked = list(asked)
    used = {(port.host_port, port.protocol) for port in asked}
    chosen = []
    for port in asked:
        host_port = port.host_port
        while host_port in ANY_HOST_PORT:
            drawn = protocol.HOST_PORTS.start + int(ports.draw() * len(protocol.HOST_PORTS))
            host_port = 0 if (drawn, port.protocol) in used else drawn
        used.add((host_port, port.protocol))
        chosen.append(replace(port, host_port=host_port))
    return chosen


def _refuse_taken(ports: Ports, toolbox_id: str, new: NewInstance) -> None:
    """The commit was refused: say by whose claim, or return where only a drawn port was taken."""
    asked = [port for port in new.spec.ports if port.host_port not in ANY_HOST_PORT]
    name, *held = ports.store.get([name_ref(toolbox_id, new.name), *(port_ref(toolbox_id, port) for port in asked)])
    if name:
        raise NameTaken(f"an instance named {new.name!r} exists on this toolbox: {name.data['instance_id']}")
    for port, claim in zip(asked, held, strict=True):
        if claim:
            holder = f"{claim.data['name']!r} ({claim.data['instance_id']})"
            raise PortTaken(f"host port {port.host_port}/{port.protocol} is held by instance {holder}")
