from __future__ import annotations

import pytest

from tests.faults import place
from tests.faults.operations import OPERATIONS
from tests.faults.place import Place


@pytest.fixture(scope="session")
def stands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Place]:
    return {name: place.standing(name, tmp_path_factory.mktemp(name)) for name in OPERATIONS}
