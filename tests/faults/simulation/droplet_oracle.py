"""What must hold on a droplet: checked when a command begins, and after every change of a container."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from functions.adapters.toolbox_shim import to_container
from functions.domain.instance.container import LIVE_STATES
from functions.domain.instance.model import DesiredState, Instance
from functions.domain.instance.spec import engine_limits
from shim.contract import routes
from tests.faults.simulation.store_oracle import StoreOracle
from tests.faults.simulation.violation import require

if TYPE_CHECKING:
    from tests.faults.simulation.droplet import Droplet
    from tests.faults.simulation.shim import Command


class DropletOracle:
    def __init__(self, oracle: StoreOracle) -> None:
        self._oracle = oracle

    def stored(self, instance_id: str) -> Instance | None:
        return self._oracle.instances.get(instance_id)

    def begins(self, droplet: Droplet, command: Command) -> None:
        """Check a command that reaches the engine now and can no longer be recalled."""
        lost = command.lease in self._oracle.lost_leases
        require(not lost, f"{command} began though another worker had taken over")
        if command.route is routes.REMOVE and command.name in droplet.containers:
            self._removal(droplet, command)

    def changed(self, droplet: Droplet) -> None:
        live = [container for container in droplet.containers.values() if container.state in LIVE_STATES]
        for instance_id, count in Counter(container.instance_id for container in live).items():
            names = [container.name for container in live if container.instance_id == instance_id]
            require(count == 1, f"{count} containers of one instance run: {', '.join(names)}")

    def _removal(self, droplet: Droplet, command: Command) -> None:
        """A post-mortem is stored before a container that ran is removed; the previous version outlives the proof."""
        instance = command.instance
        assert instance
        observed = instance.observed.container, instance.observed.previous
        container = droplet.containers[command.name]
        known = {found.name: found for found in observed if found}.get(command.name)
        if known and known.started_at and known.id == container.id:
            require(known.id in self._oracle.post_mortems, f"{command} began without a post-mortem")
        if command.name != instance.previous_name or instance.desired.state is DesiredState.DELETED:
            return
        if container.started_at == "":
            return  # A container that never ran is no version to roll back to.
        if instance.previous_version and to_container(container).limits != engine_limits(
            instance.previous_version.spec
        ):
            return  # It was edited by hand and was being recreated when the next version was requested.
        proven = droplet.made if instance.id in self._oracle.ever_stopped else droplet.ran
        require(instance.container_name in proven, f"{command} began before the version that replaces it was proven")
