"""The places that crashes are tried on, and the tests' own world for those that break real parts."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import api, droplet, image, local_world, name, toolbox, tools
from tests.faults import environment
from tests.faults.environment import Environment
from tests.faults.operations import OPERATIONS

__all__ = ["api", "droplet", "image", "local_world", "name", "toolbox", "tools"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Environment]:
    return {name: environment.prepare(name, tmp_path_factory.mktemp(name)) for name in OPERATIONS}
