"""Where no emulator can be had, the tests on the real ones are left out, and a line says how many."""

from __future__ import annotations

import os

import pytest

LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TOOLBOXES_NO_EMULATOR") != "1":
        return
    left_out = [item for item in items if item.get_closest_marker("emulator")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    left_out = config.stash.get(LEFT_OUT, 0)
    return [f"TOOLBOXES_NO_EMULATOR=1: {left_out} tests on the real emulators are left out"] if left_out else []
