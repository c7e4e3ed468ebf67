"""What must hold at the end, after some sweeps without a fault: the actual state matches the desired state."""

from __future__ import annotations

from collections.abc import Iterator

from functions.adapters.toolbox_shim import to_container
from functions.domain.instance.condition import completed
from functions.domain.instance.container import LIVE_STATES
from functions.domain.instance.model import DesiredState, Instance
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.repository import reservations
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.store_oracle import StoreOracle


def unconverged(oracle: StoreOracle, toolboxes: list[Toolbox], droplets: dict[str, Droplet]) -> list[str]:
    """Return one sentence for each difference between the desired and the actual state."""
    found = [f"{box.id} is {box.status}" for box in toolboxes if box.status is not ToolboxStatus.ACTIVE]
    found += [f"{box.id} has orphan containers: {sorted(box.orphans)}" for box in toolboxes if box.orphans]
    for instance in oracle.instances.values():
        found += [f"{instance.name} {instance.id}: {sentence}" for sentence in _differences(instance, droplets)]
    expected = {
        ref for instance in oracle.instances.values() if not instance.deleted_at for ref in reservations(instance)
    }
    found += [f"reservation {ref.id} has no instance" for ref in sorted(oracle.reservations.keys() - expected, key=str)]
    return found


def _differences(instance: Instance, droplets: dict[str, Droplet]) -> Iterator[str]:
    desired, observed = instance.desired.state, instance.observed
    containers = droplets[instance.toolbox_id].containers.values()
    ours = [container for container in containers if container.instance_id == instance.id]
    names = [f"{container.name} {container.state}" for container in ours]
    if instance.due_at or instance.lease or not instance.settled:
        yield f"is not settled: {instance.status}, due {instance.due_at}, {observed.obstacle}"
    if desired is DesiredState.DELETED:
        if ours or not instance.deleted_at:
            yield f"is not deleted, {names}"
        return
    if instance.previous_version:
        yield f"is still being updated: {observed.obstacle}"
    if [container for container in ours if container.name != instance.container_name]:
        yield f"has other containers than {instance.container_name}: {names}"
    live = [container for container in ours if container.state in LIVE_STATES]
    if desired is DesiredState.RUNNING and not instance.failure and not completed(instance):
        if [container.state for container in live] != ["running"]:
            yield f"does not run: {names}"
        elif live[0].image != instance.spec.image or to_container(live[0]).ports != instance.spec.ports:
            yield "runs with another spec"
    elif live:
        yield f"runs, though it should not: {names}, {instance.failure}"
    container = ours[0] if ours else None
    if not observed.reachable or (observed.container is None) is not (container is None):
        yield f"is observed wrongly: {names}, reachable {observed.reachable}"
    elif (
        container
        and observed.container
        and (container.id, container.state) != (observed.container.id, observed.container.state)
    ):
        yield f"is observed {observed.container.state} and is {container.state}"
