"""Compare a droplet's list of containers with the documents that were read before it.

A list is only a hint: it proves neither a state nor an absence. Whatever differs is inspected in a pass of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from functions.domain.instance.condition import limits_edited
from functions.domain.instance.container import ListedContainer
from functions.domain.instance.model import Instance


@dataclass(frozen=True, slots=True)
class Differences:
    """`changed` are ids of instances to inspect, `orphans` the containers of no document.

    `unsettled`: some instances are being worked on or are due, so their containers were not compared.
    """

    changed: list[str]
    orphans: list[ListedContainer]
    unsettled: bool = False


def compare(
    instances: Sequence[Instance], listed: Sequence[ListedContainer], *, suspended: bool = False
) -> Differences:
    """Compare settled instances with what the list shows of them; `suspended`: whether their account is."""
    by_name = {container.name: container for container in listed}
    expected = {name for i in instances for name in (i.container_name, i.previous_name) if name}
    changed = [
        i.id
        for i in instances
        if i.settled and (i.suspended is not suspended or _differs(i, by_name.get(i.container_name)))
    ]
    orphans = [container for container in listed if container.name not in expected]
    return Differences(changed, orphans, unsettled=not all(i.settled for i in instances))


def _differs(instance: Instance, listed: ListedContainer | None) -> bool:
    known = instance.observed.container
    if listed is None or known is None:
        return (listed is None) is not (known is None)
    if limits_edited(instance, listed.limits):
        return True
    now = (listed.id, listed.state, listed.health, listed.endpoint_id)
    return now != (known.id, known.state, known.health, known.endpoint_id)
