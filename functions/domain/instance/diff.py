"""A droplet's list beside the documents that were read before it: what differs, and what nobody knows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from functions.domain.instance.condition import limits_edited
from functions.domain.instance.container import ListedContainer
from functions.domain.instance.model import Instance


@dataclass(frozen=True, slots=True)
class Differences:
    """`changed`: ids of instances to be looked at, since a list proves nothing. `strangers`: what none expects.

    `left`: somebody is at others, or they are due; what comes of them is not known yet.
    """

    changed: list[str]
    orphans: list[ListedContainer]
    left: bool = False


def compare(
    instances: Sequence[Instance], listed: Sequence[ListedContainer], *, suspended: bool = False
) -> Differences:
    """`suspended`: whether the instances are to be held stopped."""
    by_name = {one.name: one for one in listed}
    expected = {name for i in instances for name in (i.container_name, i.previous_name) if name}
    changed = [
        i.id
        for i in instances
        if i.settled and (i.suspended is not suspended or _differs(i, by_name.get(i.container_name)))
    ]
    strangers = [one for one in listed if one.name not in expected]
    return Differences(changed, strangers, left=not all(i.settled for i in instances))


def _differs(instance: Instance, listed: ListedContainer | None) -> bool:
    seen = instance.observed.container
    if listed is None or seen is None:
        return (listed is None) is not (seen is None)
    if limits_edited(instance, listed.limits):
        return True
    return (listed.id, listed.state, listed.health, listed.endpoint_id) != (
        seen.id,
        seen.state,
        seen.health,
        seen.endpoint_id,
    )
