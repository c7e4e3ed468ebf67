"""Host ports: allocated where the account named none, and reallocated where the engine refused an allocated one.

A host port that the account requested by its number is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance, Observed
from functions.domain.instance.spec import Spec
from shim.contract import names

# A host port of 0 is to be allocated, and so is 30000: the existing frontend sends that where it has no preference.
ANY_HOST_PORT = (0, 30_000)
# In a row. After three refusals the number is not the cause.
MAX_REALLOCATIONS = 3

# Returns a number from 0 up to but not including 1, as random.random does.
Draw = Callable[[], float]


def allocate(spec: Spec, requested: Sequence[Port], current: Iterable[Port], draw: Draw) -> Spec:
    """Return `spec` with the `requested` ports, each with a host port.

    A port that names none keeps the host port that its container port has in `current`, so that an update does not
    move it; else it gets a random one. Another instance may have reserved that: the commit then fails, and the caller
    allocates again.
    """
    known = {(port.container_port, port.protocol): port.host_port for port in current}
    unnamed = [port.host_port in ANY_HOST_PORT for port in requested]
    ports = [
        replace(port, host_port=known.get((port.container_port, port.protocol), 0)) if any_port else port
        for port, any_port in zip(requested, unnamed, strict=True)
    ]
    chosen = _choose(ports, (), draw)
    allocated = [port for port, any_port in zip(chosen, unnamed, strict=True) if any_port]
    return replace(spec, ports=chosen, allocated=allocated)


def reallocate(instance: Instance, refused: Sequence[Port], draw: Draw) -> Instance:
    """Return the instance with other host ports in place of `refused`, for a container that does not exist yet.

    The present container is gone. The spec generation grows, since the container's name and ports change; the
    generation stays, since the account requested nothing.
    """
    ports = [replace(port, host_port=0) if port in refused else port for port in instance.spec.ports]
    return with_reallocated_ports(instance, _choose(ports, instance.observed.refused_ports, draw))


def with_reallocated_ports(instance: Instance, ports: Sequence[Port]) -> Instance:
    """Return the instance with `ports` in place of those of its spec, in the same order."""
    spec, desired, observed = instance.spec, instance.desired, instance.observed
    replaced = dict(zip(spec.ports, ports, strict=True))
    reallocations = desired.reallocations + 1
    return replace(
        instance,
        spec=replace(spec, ports=list(ports), allocated=[replaced[port] for port in spec.allocated]),
        desired=replace(desired, reallocations=reallocations, spec_generation=desired.generation + reallocations),
        observed=replace(observed, container=None, absent=False, mcp=None, restarts=[]),
    )


def refused_ports(spec: Spec, message: str, *, again: bool) -> list[Port]:
    """Return the allocated ports that an engine's refusal is about: those that `message` names, else all.

    moby's port allocator says "Bind for 0.0.0.0:20001 failed", its proxy "listen tcp4 0.0.0.0:20001: bind: …". They
    name only the first port that they meet. Where the engine refuses `again`, it may be keeping every port that the
    container once had, so all of them are replaced.
    """
    named = [port for port in spec.ports if re.search(rf":{port.host_port}\b", message)] or spec.ports
    allocated = [port for port in named if port in spec.allocated]
    return spec.allocated if allocated and again else allocated


def ports_to_reallocate(spec: Spec, observed: Observed) -> list[Port]:
    """Return the allocated ports that the engine refused: without others no container of `spec` can start."""
    return [port for port in spec.allocated if port in observed.refused_ports]


def _choose(ports: Sequence[Port], avoid: Sequence[Port], draw: Draw) -> list[Port]:
    """Return `ports` with a random host port in place of each 0, none used twice and none of those in `avoid`."""
    used = {(port.host_port, port.protocol) for port in (*ports, *avoid)}
    chosen = []
    for port in ports:
        host_port = port.host_port
        while host_port == 0:
            candidate = names.HOST_PORTS.start + int(draw() * len(names.HOST_PORTS))
            host_port = 0 if (candidate, port.protocol) in used else candidate
        used.add((host_port, port.protocol))
        chosen.append(replace(port, host_port=host_port))
    return chosen
