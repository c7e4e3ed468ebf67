"""PATCH one instance of the world's toolbox, as its account does."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from tests.fakes.world import CALLER, TOOLBOX, World

# An image beside tests.fakes.droplet.IMAGE; the droplet does not have it unless a test adds it.
OTHER_IMAGE = "registry.test/server:2"


def patch(world: World, instance: Instance, ports: list[Port] | None = None, **spec: object) -> Instance:
    """The instance after the request, with the given fields of its spec changed; `ports` None leaves the ports."""
    changes = Changes(lambda old: replace(old, **spec), ports)  # type: ignore[arg-type]
    return update(world.deps, InstanceRequest(CALLER, TOOLBOX, instance.id), changes)
