"""Logs: one JSON object a line on stdout, in Cloud Logging's field names, with the request's id."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from functions.web.requests import request_id


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request = request_id()
        return True


def formatter() -> JsonFormatter:
    names = {"levelname": "severity", "exc_info": "stack_trace"}
    fields = "%(levelname)s %(message)s %(name)s %(request)s"
    return JsonFormatter(fields, rename_fields=names, timestamp="time")


def install() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_RequestId())
    handler.setFormatter(formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
