"""The one place that turns errors into HTTP: RFC 9457 problem documents, with `message` beside `detail`.

The existing frontend reads `message`. What is not one of our errors is logged with its traceback, and its caller
learns only that it is an internal error, with the id by which to find it.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify
from typing_extensions import TypedDict
from werkzeug.exceptions import HTTPException

from functions.domain import errors
from functions.web.record_types import exact
from functions.web.requests import request_id
from shim.contract.errors import Refused, ShimError

log = logging.getLogger(__name__)

TYPE = "urn:toolboxes:problem:"
HTTP_CODES = {
    400: "bad-request",
    404: "unknown-route",
    405: "method-not-allowed",
    413: "payload-too-large",
    414: "uri-too-long",
}


@exact
class ProblemDocument(TypedDict):
    """https://www.rfc-editor.org/rfc/rfc9457: `type` is stable, `message` equal to `detail`."""

    type: str
    title: str
    status: int
    detail: str
    message: str
    request_id: str


def status_of(error: type[errors.ToolboxesError] | type[ShimError]) -> int:
    # A refusal of what we sent is our fault and not the caller's, who never speaks to the shim.
    if issubclass(error, ShimError) and (issubclass(error, Refused) or error.status == 500):
        return 502
    return error.status


def document(error: errors.ToolboxesError | ShimError) -> ProblemDocument:
    """Of an error that is expected."""
    if isinstance(error, ShimError):
        return _document(error.code, status_of(type(error)), f"the toolbox answered: {error.message}")
    return _document(error.code, error.status, error.detail)


def internal() -> ProblemDocument:
    """Of a bug: it is in the logs under the same request id."""
    return _document("internal-error", 500, "internal error")


def _document(code: str, status: int, detail: str) -> ProblemDocument:
    return {
        "type": f"{TYPE}{code}",
        "title": code.replace("-", " "),
        "status": status,
        "detail": detail,
        "message": detail,
        "request_id": request_id(),
    }


def answer(document: ProblemDocument) -> Response:
    response = jsonify(document)
    response.status_code = document["status"]
    response.mimetype = "application/problem+json"
    return response


def install(app: Flask) -> None:
    @app.errorhandler(errors.ToolboxesError)
    def ours(error: errors.ToolboxesError) -> Response:
        if error.status >= 500:
            log.error("%s: %s", error.code, error.detail, exc_info=error)
        response = answer(document(error))
        if isinstance(error, errors.Unauthorized):
            response.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, errors.TooManyRequests):
            response.headers["Retry-After"] = str(error.retry_after)
        if error.status == 503:
            response.headers["Retry-After"] = "5"
        return response

    @app.errorhandler(ShimError)
    def the_shims(error: ShimError) -> Response:
        log.error("the shim answered %s: %s", error.code, error.message, exc_info=error)
        return answer(document(error))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        response = answer(_document(HTTP_CODES.get(status, "http-error"), status, error.description or error.name))
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        log.exception("unexpected error")
        return answer(internal())
