"""Host ports: drawn where none was asked for, claimed in the commit that needs them, refused by their holder's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from functions.domain.errors import PortTaken
from functions.domain.instance import Instance
from functions.lifecycle.documents import claim, port_ref
from functions.lifecycle.ports import Ports, Write
from shim import protocol
from shim.protocol import messages

# What the existing frontend sends where it does not care, and the shim's own.
ANY_HOST_PORT = (0, protocol.PORT)


def drawn(ports: Ports, asked: Sequence[messages.Port], held: Iterable[messages.Port] = ()) -> list[messages.Port]:
    """Each port with a host port: as asked, else the one that `held` has for the same container port, else random."""
    known = {(port.container_port, port.protocol): port.host_port for port in held}
    filled = [
        replace(port, host_port=known.get((port.container_port, port.protocol), 0))
        if port.host_port in ANY_HOST_PORT else port
        for port in asked
    ]  # fmt: skip
    used = {(port.host_port, port.protocol) for port in filled}
    chosen = []
    for port in filled:
        host_port = port.host_port
        while host_port == 0:
            candidate = protocol.HOST_PORTS.start + int(ports.draw() * len(protocol.HOST_PORTS))
            host_port = 0 if (candidate, port.protocol) in used else candidate
        used.add((host_port, port.protocol))
        chosen.append(replace(port, host_port=host_port))
    return chosen


def newly_claimed(before: Instance, after: Instance) -> list[Write]:
    """The claims of `after` that `before` does not hold already."""
    held = {port_ref(before.toolbox_id, port) for port in before.spec.ports}
    refs = [port_ref(after.toolbox_id, port) for port in after.spec.ports]
    return [claim(ref, after) for ref in refs if ref not in held]


def refuse_taken(ports: Ports, toolbox_id: str, asked: Sequence[messages.Port], but: str = "") -> None:
    """Raises PortTaken where another instance than `but` holds a port that was asked for by its number."""
    numbered = [port for port in asked if port.host_port not in ANY_HOST_PORT]
    for port, held in zip(numbered, ports.store.get([port_ref(toolbox_id, p) for p in numbered]), strict=True):
        if held and held.data["instance_id"] != but:
            holder = f"{held.data['name']!r} ({held.data['instance_id']})"
            raise PortTaken(f"host port {port.host_port}/{port.protocol} is held by instance {holder}")
