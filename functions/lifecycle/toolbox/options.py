"""DigitalOcean's lists of regions and sizes, cached: they change seldom, and every account may ask for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from functions.domain.errors import ToolboxesError

log = logging.getLogger(__name__)

TTL = timedelta(hours=1)
# After a failure the API is not called again for this long, however many callers ask.
RETRY_AFTER = timedelta(seconds=30)


class CachedList:
    """One list, shared between threads: of concurrent callers only one calls the API."""

    def __init__(self, fetch: Callable[[], list[dict[str, Any]]], now: Callable[[], datetime]) -> None:
        self._fetch, self._now = fetch, now
        self._lock = threading.Lock()
        self._items: list[dict[str, Any]] | None = None
        self._due: datetime | None = None
        self._error: ToolboxesError | None = None

    def get(self) -> list[dict[str, Any]]:
        """Return the list. Where the API fails, an old list is better than none; without one its error is raised."""
        with self._lock:
            if self._due is None or self._now() >= self._due:
                self._refresh()
            if self._items is not None:
                return self._items
            assert self._error
            raise self._error

    def _refresh(self) -> None:
        try:
            self._items, self._error = self._fetch(), None
        except ToolboxesError as error:
            log.warning("a list of DigitalOcean's could not be fetched: %s", error)
            self._error = error
        self._due = self._now() + (RETRY_AFTER if self._error else TTL)
