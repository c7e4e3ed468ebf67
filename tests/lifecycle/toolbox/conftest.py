import pytest

from tests.fakes.fleet import FleetWorld


@pytest.fixture
def world() -> FleetWorld:
    """A world without toolboxes, whose droplets are created through a fake of DigitalOcean's API."""
    return FleetWorld()
