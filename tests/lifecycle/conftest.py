import pytest

from tests.fakes.world import World


@pytest.fixture
def world() -> World:
    """A world with one active toolbox."""
    world = World()
    world.add_toolbox()
    return world
