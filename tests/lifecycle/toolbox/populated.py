"""A toolbox with instances on it, for tests of what happens to them."""

from __future__ import annotations

from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import InstanceRequest
from tests.fakes.droplet import FakeDroplet
from tests.fakes.fleet import FleetWorld
from tests.fakes.world import CALLER, new


def populated_toolbox(world: FleetWorld) -> tuple[Toolbox, list[Instance], FakeDroplet]:
    """An active toolbox, its three instances of which the last is stopped, and its droplet."""
    toolbox = world.active()
    instances = [world.deploy_on(toolbox, new(f"server-{number}", ports=(20_001 + number,))) for number in range(3)]
    change.stop(world.deps, InstanceRequest(CALLER, toolbox.id, instances[2].id))
    world.sweep()
    [droplet] = world.fleet.booted.values()
    return world.toolbox(toolbox), [world.stored(instance) for instance in instances], droplet
