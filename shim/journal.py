"""Logs as JSON lines on stdout, under Cloud Logging's names."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

# Fields that a call may add by `extra`: the request's id, the instance, and what the access line says.
EXTRA = ("jti", "instance", "milliseconds")


class JsonLines(logging.Formatter):
    def __init__(self, toolbox_id: str) -> None:
        super().__init__()
        self._toolbox_id = toolbox_id

    def format(self, record: logging.LogRecord) -> str:
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        line = {
            "severity": record.levelname,
            "message": record.getMessage() + trace,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "toolbox": self._toolbox_id,
        }
        return json.dumps(line | {key: value for key in EXTRA if (value := getattr(record, key, None)) is not None})


def to_stdout(toolbox_id: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(toolbox_id))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Each connection to the engine would be a line.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
