"""Deselects the tests on the emulators where none is available, and reports how many."""

from __future__ import annotations

import os

import pytest

DESELECTED = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TOOLBOXES_NO_EMULATOR") != "1":
        return
    deselected = [item for item in items if item.get_closest_marker("emulator")]
    items[:] = [item for item in items if item not in deselected]
    config.hook.pytest_deselected(items=deselected)
    config.stash[DESELECTED] = len(deselected)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    deselected = config.stash.get(DESELECTED, 0)
    return [f"TOOLBOXES_NO_EMULATOR=1: {deselected} tests on the emulators are deselected"] if deselected else []
