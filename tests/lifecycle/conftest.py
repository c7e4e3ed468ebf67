import pytest

from tests.fakes.world import World


@pytest.fixture
def world() -> World:
    made = World()
    made.add_toolbox()
    return made
