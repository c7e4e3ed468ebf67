"""DigitalOcean's lists, kept for a while: they change seldom, and everybody may ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from functions.domain.errors import ToolboxesError

log = logging.getLogger(__name__)

KEPT_FOR = timedelta(hours=1)
# After a failure the API is left in peace for so long, whoever asks.
AGAIN_AFTER = timedelta(seconds=30)


class CachedList:
    """Safe to share between threads: of many that ask at once one asks the API."""

    def __init__(self, ask: Callable[[], list[dict[str, Any]]], now: Callable[[], datetime]) -> None:
        self._ask, self._now = ask, now
        self._lock = threading.Lock()
        self._known: list[dict[str, Any]] | None = None
        self._due: datetime | None = None
        self._error: ToolboxesError | None = None

    def get(self) -> list[dict[str, Any]]:
        """The list as it was when last asked for, however old where the API fails. Raises DigitalOcean's errors."""
        with self._lock:
            if self._due is None or self._now() >= self._due:
                self._refresh()
            if self._known is not None:
                return self._known
            assert self._error
            raise self._error

    def _refresh(self) -> None:
        try:
            self._known, self._error = self._ask(), None
        except ToolboxesError as error:
            log.warning("DigitalOcean's lists could not be had: %s", error)
            self._error = error
        self._due = self._now() + (AGAIN_AFTER if self._error else KEPT_FOR)
