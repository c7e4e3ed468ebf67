"""Host ports: allocated where the caller named none, and refused where another instance has reserved them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from functions.domain.errors import PortTaken
from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance
from functions.domain.instance.spec import Spec
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.repository import port_ref
from shim.contract import names, routes

# What the existing frontend sends where it does not care, and the shim's own.
ANY_HOST_PORT = (0, routes.PORT)


def allocate(deps: Dependencies, spec: Spec, asked: Sequence[Port], held: Iterable[Port] = ()) -> Spec:
    """`spec` with `asked`, each with a host port: as asked, else that of `held` for its container port, else drawn."""
    known = {(port.container_port, port.protocol): port.host_port for port in held}
    left_open = [port.host_port in ANY_HOST_PORT for port in asked]
    filled = [
        replace(port, host_port=known.get((port.container_port, port.protocol), 0)) if is_open else port
        for port, is_open in zip(asked, left_open, strict=True)
    ]
    chosen = _drawn(deps, filled)
    return replace(
        spec, ports=chosen, allocated=[port for port, is_open in zip(chosen, left_open, strict=True) if is_open]
    )


def reallocate(deps: Dependencies, instance: Instance, taken: Sequence[Port]) -> list[Port]:
    """The spec's ports, with others in place of `taken`, and than any that were refused before."""
    left = [replace(port, host_port=0) if port in taken else port for port in instance.spec.ports]
    return _drawn(deps, left, instance.observed.refused_ports)


def _drawn(deps: Dependencies, wanted: Sequence[Port], avoiding: Sequence[Port] = ()) -> list[Port]:
    """Each with its host port, or a random one in place of 0."""
    used = {(port.host_port, port.protocol) for port in (*wanted, *avoiding)}
    chosen = []
    for port in wanted:
        host_port = port.host_port
        while host_port == 0:
            candidate = names.HOST_PORTS.start + int(deps.draw() * len(names.HOST_PORTS))
            host_port = 0 if (candidate, port.protocol) in used else candidate
        used.add((host_port, port.protocol))
        chosen.append(replace(port, host_port=host_port))
    return chosen


def refuse_reserved(deps: Dependencies, toolbox_id: str, asked: Sequence[Port], but: str = "") -> None:
    """Raises PortTaken where another instance than `but` holds a port that was asked for by its number."""
    numbered = [port for port in asked if port.host_port not in ANY_HOST_PORT]
    for port, held in zip(numbered, deps.store.get([port_ref(toolbox_id, p) for p in numbered]), strict=True):
        if held and held.data["instance_id"] != but:
            holder = f"{held.data['name']!r} ({held.data['instance_id']})"
            raise PortTaken(f"host port {port.host_port}/{port.protocol} is held by instance {holder}")
