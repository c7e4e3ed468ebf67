"""Deselects the tests on the emulators where none is available, and fails a test whose passes met a bug."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

# Where an unexpected error is recorded, and not raised.
PASSES = ("functions.lifecycle.reconcile.driver", "functions.lifecycle.reconcile.toolboxes", "functions.web.workers")
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


class _InternalErrors(logging.Handler):
    """Collects the unexpected errors that passes and tasks record instead of raising them."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and "unexpected" in record.getMessage():
            self.messages.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@pytest.fixture(autouse=True)
def no_internal_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test where a reconcile pass met a bug, or a failed assertion of a fake, and carried on."""
    if request.node.get_closest_marker("internal_error"):
        yield
        return
    found, loggers = _InternalErrors(), [logging.getLogger(name) for name in PASSES]
    for logger in loggers:
        logger.addHandler(found)
    yield
    for logger in loggers:
        logger.removeHandler(found)
    assert found.messages == []
