"""Host ports that the control plane drew: which of them an engine has refused, and that others take their place.

One that the account asked for by its number is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance, Observed
from functions.domain.instance.spec import Spec

# As often as that in a row; by then it is not the number that is at fault.
MAX_REALLOCATIONS = 3


def refused_ports(spec: Spec, said: str, *, again: bool) -> list[Port]:
    """The drawn ports that an engine's refusal is about: those that `said` names, or all where it names none.

    moby's port allocator says "Bind for 0.0.0.0:20001 failed", its proxy "listen tcp4 0.0.0.0:20001: bind: …". It names
    the first that it meets; where it refuses `again`, it may be one that keeps all that a container once had.
    """
    named = [port for port in spec.ports if re.search(rf":{port.host_port}\b", said)] or spec.ports
    drawn = [port for port in named if port in spec.allocated]
    return spec.allocated if drawn and again else drawn


def ports_to_reallocate(spec: Spec, observed: Observed) -> list[Port]:
    """The ports that are to be drawn anew before a container of `spec` can start."""
    return [port for port in spec.allocated if port in observed.refused_ports]


def with_reallocated_ports(instance: Instance, ports: Sequence[Port]) -> Instance:
    """With `ports`, in their order those of the spec or drawn ones in their place, for a container not yet made.

    The container that there was is gone, and what the account asked for is the same: its generation stays.
    """
    spec, desired, seen = instance.spec, instance.desired, instance.observed
    replaced = dict(zip(spec.ports, ports, strict=True))
    reallocations = desired.reallocations + 1
    return replace(
        instance,
        spec=replace(spec, ports=list(ports), allocated=[replaced[port] for port in spec.allocated]),
        desired=replace(desired, reallocations=reallocations, spec_generation=desired.generation + reallocations),
        observed=replace(seen, container=None, absent=False, mcp=None, restarts=[]),
    )
