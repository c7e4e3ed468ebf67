"""What must hold on a droplet: watched at every act as it begins, and after whatever happens to a container."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from functions.domain.instance.model import LIVE_STATES, DesiredState, Instance
from functions.domain.instance.spec import engine_limits
from shim.contract import routes
from tests.faults.simulation.violated import require
from tests.faults.simulation.witness import Witness

if TYPE_CHECKING:
    from tests.faults.simulation.droplet import Droplet
    from tests.faults.simulation.shim import Command


class Guard:
    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def on_record(self, instance_id: str) -> Instance | None:
        return self._witness.instances.get(instance_id)

    def begun(self, droplet: Droplet, command: Command) -> None:
        """It is about to act inside the engine, and cannot be recalled."""
        lost = command.lease in self._witness.lost_leases
        require(not lost, f"{command} began though another worker had taken over")
        if command.route is routes.REMOVE and command.name in droplet.containers:
            self._removal(droplet, command)

    def changed(self, droplet: Droplet) -> None:
        live = [one for one in droplet.containers.values() if one.state in LIVE_STATES]
        for instance_id, count in Counter(one.instance_id for one in live).items():
            names = [one.name for one in live if one.instance_id == instance_id]
            require(count == 1, f"{count} containers of one instance run: {', '.join(names)}")

    def _removal(self, droplet: Droplet, command: Command) -> None:
        """Nothing that was seen to run goes without its post-mortem, and no version before the next is there."""
        instance = command.instance
        assert instance
        seen = {one.name: one for one in (instance.observed.container, instance.observed.previous) if one}
        there, known = droplet.containers[command.name], seen.get(command.name)
        if known and known.started_at and known.id == there.id:
            require(known.id in self._witness.kept, f"{command} began without a post-mortem")
        if command.name != instance.previous_name or instance.desired.state is DesiredState.DELETED:
            return
        if there.started_at == "":
            return  # What never ran is nothing to fall back on.
        if instance.previous_version and there.limits != engine_limits(instance.previous_version.spec):
            return  # Edited by hand, it was being made anew when the wish for another version came.
        proven = droplet.made if instance.id in self._witness.not_to_run else droplet.ran
        told = f"{command} began before the version that replaces it was proven"
        require(instance.container_name in proven, told)
