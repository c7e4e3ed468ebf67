"""What every function's Flask application has: problem documents, CORS, bounded requests, JSON logs."""

from __future__ import annotations

import logging
import sys
import time

from flask import Flask, Response, g, request
from flask_cors import CORS
from pythonjsonlogger.json import JsonFormatter
from werkzeug.exceptions import RequestURITooLarge
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as WsgiResponse

from functions.domain.account.model import Limits
from functions.web import problems
from functions.web.requests import path_below, request_id, trace_id

log = logging.getLogger(__name__)

ALLOWED_HEADERS = ["authorization", "x-client-info", "apikey", "content-type", "idempotency-key", "x-retry-count"]
# Characters of the decoded path and query together. gunicorn, which functions-framework uses, sets no limit.
MAX_TARGET = 8_192
# Characters of a path that a log line shows.
MAX_LOGGED_PATH = 512
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create(name: str, limits: Limits) -> Flask:
    """An application without routes for the function `name`."""
    app = Flask(f"toolboxes.{name}", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    # A redirect would turn a client's POST into a GET, so `//` is an unknown route.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    problems.install(app)
    CORS(app, methods=METHODS, allow_headers=ALLOWED_HEADERS, expose_headers=["Link", "Retry-After"], max_age=3600)

    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()
        if len(request.path) + len(request.query_string) > MAX_TARGET:
            raise RequestURITooLarge

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = request_id()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        milliseconds = round((time.monotonic() - g.began) * 1000)
        path = request.path[:MAX_LOGGED_PATH]
        fields = {"method": request.method, "path": path, "status": response.status_code, "ms": milliseconds}
        log.info("%s %s", request.method, path, extra=fields)
        return response

    return app


def serve(app: Flask, name: str, outer: Request) -> WsgiResponse:
    """Serve a request of the function `name` by `app`, under whatever path the function is mounted.

    The platform calls a function at several prefixes, and werkzeug's DispatcherMiddleware would redirect `/name` to
    `/name/`, which neither a POST nor a Pub/Sub push follows.
    """
    environ = dict(outer.environ)
    environ["PATH_INFO"] = path_below(name, environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
    environ["SCRIPT_NAME"] = ""
    return WsgiResponse.from_app(app, environ)


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request, record.trace = request_id(), trace_id()
        return True


def log_formatter() -> JsonFormatter:
    """One JSON object a line in Cloud Logging's field names: https://cloud.google.com/logging/docs/structured-logging"""
    names = {"levelname": "severity", "exc_info": "stack_trace"}
    fields = "%(levelname)s %(message)s %(name)s %(request)s %(trace)s"
    return JsonFormatter(fields, rename_fields=names, timestamp="time")


def install_logging() -> None:
    """Write the whole process's log to stdout, each line with the id of its request."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(_RequestId())
    handler.setFormatter(log_formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
