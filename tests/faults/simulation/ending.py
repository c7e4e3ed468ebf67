"""What must hold once nothing goes wrong any more and a few sweeps have passed."""

from __future__ import annotations

from collections.abc import Iterator

from functions.domain.instance.condition import completed
from functions.domain.instance.model import LIVE_STATES, DesiredState, Instance
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.repository import reservations
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.witness import Witness


def unfinished(witness: Witness, toolboxes: list[Toolbox], droplets: dict[str, Droplet]) -> list[str]:
    """What is not yet as it is to be: one sentence each."""
    found = [f"{box.id} is {box.status}" for box in toolboxes if box.status is not ToolboxStatus.ACTIVE]
    found += [f"{box.id} holds strangers: {sorted(box.orphans)}" for box in toolboxes if box.orphans]
    for instance in witness.instances.values():
        found += [f"{instance.name} {instance.id}: {sentence}" for sentence in _of_one(instance, droplets)]
    expected = {ref for one in witness.instances.values() if not one.deleted_at for ref in reservations(one)}
    found += [f"claim {ref.id} is left over" for ref in sorted(witness.claims.keys() - expected, key=str)]
    return found


def _of_one(instance: Instance, droplets: dict[str, Droplet]) -> Iterator[str]:
    desired, seen = instance.desired.state, instance.observed
    here = [one for one in droplets[instance.toolbox_id].containers.values() if one.instance_id == instance.id]
    names = [f"{one.name} {one.state}" for one in here]
    if instance.due_at or instance.lease or not instance.settled:
        yield f"is not settled: {instance.status}, due {instance.due_at}, {seen.obstacle}"
    if desired is DesiredState.DELETED:
        if here or not instance.deleted_at:
            yield f"is not deleted, {names}"
        return
    if instance.previous_version:
        yield f"is still being updated: {seen.obstacle}"
    if [one for one in here if one.name != instance.container_name]:
        yield f"has other containers than {instance.container_name}: {names}"
    live = [one for one in here if one.state in LIVE_STATES]
    if desired is DesiredState.RUNNING and not instance.failure and not completed(instance):
        if [one.state for one in live] != ["running"]:
            yield f"does not run: {names}"
        elif live[0].image != instance.spec.image or live[0].ports != instance.spec.ports:
            yield "runs by another spec"
    elif live:
        yield f"runs, and is not to: {names}, {instance.failure}"
    container = here[0] if here else None
    if not seen.reachable or (seen.container is None) is not (container is None):
        yield f"is not seen as it is: {names}, reachable {seen.reachable}"
    elif container and seen.container and (container.id, container.state) != (seen.container.id, seen.container.state):
        yield f"is seen {seen.container.state} and is {container.state}"
