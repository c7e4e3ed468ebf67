"""Memory before a deploy, disk before a pull."""

from dataclasses import replace

import pytest

from functions.domain.errors import NoRoom
from functions.domain.instance.spec import ResourceLimits
from functions.lifecycle.toolbox import read as toolboxes
from shim.contract import messages
from tests.fakes.droplet import IMAGE
from tests.fakes.world import CALLER, TOOLBOX, World, new

GIB = 1 << 30


@pytest.fixture
def small(world: World) -> World:
    """A droplet of 1 GiB, as a look has recorded it."""
    world.droplet.memory_bytes = GIB
    toolboxes.refresh(world.deps, CALLER, TOOLBOX)
    return world


def test_a_deploy_that_memory_cannot_hold_is_refused_with_what_is_asked_and_left(small: World) -> None:
    small.deploy(new("first"))
    with pytest.raises(NoRoom, match="512 MiB of memory are asked for and 320 MiB are left"):
        small.deploy(new("second"))
    assert len(small.documents()) == 1
    wanted = new("third")
    fits = replace(wanted, spec=replace(wanted.spec, limits=ResourceLimits(memory="256m")))
    assert small.deploy(fits).settled


def test_a_toolbox_that_cannot_be_asked_keeps_the_wish(small: World) -> None:
    small.droplet.reachable = False
    assert small.deploy().observed.obstacle
    small.droplet.reachable = True
    small.sweep()
    assert len(small.droplet.running()) == 1


def test_before_a_pull_on_a_nearly_full_disk_what_no_instance_names_is_pruned(world: World) -> None:
    world.droplet.disk = messages.Disk("/", 50 * GIB, 49 * GIB, GIB)
    toolboxes.refresh(world.deps, CALLER, TOOLBOX)
    world.deploy(new("first"))
    world.droplet.images |= {"old:1", "old:2"}
    world.droplet.registry["registry.test/other:2"] = None
    world.deploy(new("second", image="registry.test/other:2"))
    world.deliver()
    assert world.droplet.images == {IMAGE, "registry.test/other:2"}
