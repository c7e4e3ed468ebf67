"""Host ports that the control plane drew: which of them an engine has refused, and that others take their place.

One that the account asked for by its number is never changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from functions.domain.instance import Instance, Observed
from functions.domain.spec import Spec
from shim.contract import messages

# As often as that in a row; by then it is not the number that is at fault.
MAX_REDRAWS = 3


def refused(spec: Spec, said: str, *, again: bool) -> list[messages.Port]:
    """The drawn ports that an engine's refusal is about: those that `said` names, or all where it names none.

    moby's port allocator says "Bind for 0.0.0.0:20001 failed", its proxy "listen tcp4 0.0.0.0:20001: bind: …". It names
    the first that it meets; where it refuses `again`, it may be one that keeps all that a container once had.
    """
    named = [port for port in spec.ports if re.search(rf":{port.host_port}\b", said)] or spec.ports
    drawn = [port for port in named if port in spec.drawn]
    return spec.drawn if drawn and again else drawn


def to_redraw(spec: Spec, observed: Observed) -> list[messages.Port]:
    """The ports that are to be drawn anew before a container of `spec` can start."""
    return [port for port in spec.drawn if port in observed.taken]


def redrawn(instance: Instance, ports: Sequence[messages.Port]) -> Instance:
    """With `ports`, in their order those of the spec or drawn ones in their place, for a container not yet made.

    The container that there was is gone, and what the account asked for is the same: its generation stays.
    """
    spec, desired, seen = instance.spec, instance.desired, instance.observed
    replaced = dict(zip(spec.ports, ports, strict=True))
    redraws = desired.redraws + 1
    return replace(
        instance,
        spec=replace(spec, ports=list(ports), drawn=[replaced[port] for port in spec.drawn]),
        desired=replace(desired, redraws=redraws, spec_generation=desired.generation + redraws),
        observed=replace(seen, container=None, gone=False, mcp=None, restarts=[]),
    )
