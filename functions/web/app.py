"""A Flask application as every function has it: errors as problems, CORS, bounded bodies, one log line a request."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request
from flask_cors import CORS
from werkzeug.exceptions import RequestURITooLarge
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as WsgiResponse

from functions.domain.account.limits import Limits
from functions.web import problems
from functions.web.requests import below, request_id

log = logging.getLogger(__name__)

ALLOWED_HEADERS = ["authorization", "x-client-info", "apikey", "content-type", "idempotency-key", "x-retry-count"]
# Path and query, as they are without their encoding: the server itself takes any length.
MAX_TARGET = 8_192
# A line of the log shows so much of a path.
SHOWN_PATH = 512
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create(name: str, limits: Limits) -> Flask:
    app = Flask(f"toolboxes.{name}", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    # A path is what it says, and is not redirected to what it may have meant.
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
        taken = round((time.monotonic() - g.began) * 1000)
        path = request.path[:SHOWN_PATH]
        told = {"method": request.method, "path": path, "status": response.status_code, "ms": taken}
        log.info("%s %s", request.method, path, extra=told)
        return response

    return app


def answer(app: Flask, name: str, outer: Request) -> WsgiResponse:
    """Serve `outer`, which reached the function `name`, by `app`, whatever path it was mounted under."""
    environ = dict(outer.environ)
    environ["PATH_INFO"] = below(name, environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
    environ["SCRIPT_NAME"] = ""
    return WsgiResponse.from_app(app, environ)
