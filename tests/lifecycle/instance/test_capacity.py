"""Memory is checked before a deploy, disk before a pull."""

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
def small_world(world: World) -> World:
    """The toolbox's droplet has 1 GiB of memory, and the toolbox's document says so."""
    world.droplet.memory_bytes = GIB
    toolboxes.refresh(world.deps, CALLER, TOOLBOX)
    return world


def test_deploy_beyond_free_memory_is_refused_with_requested_and_free(small_world: World) -> None:
    small_world.deploy(new("first"))
    with pytest.raises(NoRoom, match="512 MiB requested, 320 MiB free"):
        small_world.deploy(new("second"))
    assert len(small_world.documents()) == 1
    wanted = new("third")
    fits = replace(wanted, spec=replace(wanted.spec, limits=ResourceLimits(memory="256m")))
    assert small_world.deploy(fits).settled


def test_deploy_on_an_unreachable_toolbox_is_kept_and_runs_later(small_world: World) -> None:
    small_world.droplet.reachable = False
    assert small_world.deploy().observed.obstacle
    small_world.droplet.reachable = True
    small_world.sweep()
    assert len(small_world.droplet.running()) == 1


def test_pull_on_a_nearly_full_disk_first_prunes_images_without_instance(world: World) -> None:
    world.droplet.disk = messages.Disk("/", 50 * GIB, 49 * GIB, GIB)
    toolboxes.refresh(world.deps, CALLER, TOOLBOX)
    world.deploy(new("first"))
    world.droplet.images |= {"old:1", "old:2"}
    world.droplet.registry["registry.test/other:2"] = None
    world.deploy(new("second", image="registry.test/other:2"))
    world.deliver()
    assert world.droplet.images == {IMAGE, "registry.test/other:2"}
