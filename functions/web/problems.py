"""The one place that turns errors into HTTP: RFC 9457 problem documents with `message` beside `detail`.

The existing frontend reads `message`. An error that is not one of ours is logged with its traceback, and the caller
learns only that it is an internal error, with the request id under which the log has it.
"""

from __future__ import annotations

import logging

from flask import Flask, Response
from pydantic import Field
from werkzeug.exceptions import HTTPException

from functions.domain import errors
from functions.web.records import Record, answer
from functions.web.requests import request_id
from shim.contract.errors import OutcomeUnknown, Refused, ShimError

log = logging.getLogger(__name__)

TYPE = "urn:toolboxes:problem:"
RETRY_AFTER_SECONDS = 5
# Errors that werkzeug raises before or instead of a view.
HTTP_CODES = {
    400: "bad-request",
    404: "unknown-route",
    405: "method-not-allowed",
    413: "payload-too-large",
    414: "uri-too-long",
}


class ProblemDocument(Record):
    """A problem document: https://www.rfc-editor.org/rfc/rfc9457"""

    type: str = Field(description="Stable URN of the kind of problem; compare this one.")
    title: str = Field(description="The kind of problem in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong, and what to do.")
    message: str = Field(description="The same as `detail`.")
    request_id: str = Field(description="Id under which the request is in the logs.")


def status_of(error: type[errors.ToolboxesError] | type[ShimError]) -> int:
    """The HTTP status of a kind of error."""
    # Where a shim refuses what the functions sent it, the caller has done nothing wrong.
    if issubclass(error, ShimError) and (issubclass(error, Refused) or error.status == 500):
        return 502
    return error.status


def problem_of(error: errors.ToolboxesError | ShimError) -> ProblemDocument:
    """The problem document of an expected error."""
    if isinstance(error, ShimError):
        # Where no answer came, the adapter's own sentence says so.
        prefix = "" if isinstance(error, OutcomeUnknown) else "The toolbox answered: "
        return _problem(error.code, status_of(type(error)), prefix + error.message)
    return _problem(error.code, error.status, error.detail)


def internal_problem() -> ProblemDocument:
    """The problem document of a bug."""
    return _problem("internal-error", 500, "Internal error. Report the request_id.")


def problem_answer(problem: ProblemDocument) -> Response:
    """The answer that carries a problem document."""
    response = answer(problem, problem.status)
    response.mimetype = "application/problem+json"
    return response


def install(app: Flask) -> None:
    """Have `app` answer every error with a problem document."""

    @app.errorhandler(errors.ToolboxesError)
    def expected(error: errors.ToolboxesError) -> Response:
        if error.status >= 500 or isinstance(error, errors.Unstorable):
            _log_unexpected(error)
        response = problem_answer(problem_of(error))
        if isinstance(error, errors.Unauthorized):
            response.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, errors.TooManyRequests):
            response.headers["Retry-After"] = str(error.retry_after)
        if error.status == 503:
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response

    @app.errorhandler(ShimError)
    def from_shim(error: ShimError) -> Response:
        # Its message, and so its traceback, quotes what the caller sent: a command's first word and its directory.
        log.error("the shim answered %s", error.code)
        return problem_answer(problem_of(error))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        code = HTTP_CODES.get(status, "http-error")
        response = problem_answer(_problem(code, status, error.description or error.name))
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        log.exception("unexpected error", exc_info=error)
        return problem_answer(internal_problem())


def _log_unexpected(error: errors.ToolboxesError) -> None:
    if isinstance(error, errors.ToolboxRefused | errors.ShimIncompatible):
        # These quote the shim's answer, which quotes what the caller sent.
        log.error("%s", error.code)
    else:
        log.error("%s: %s", error.code, error.detail, exc_info=error)


def _problem(code: str, status: int, detail: str) -> ProblemDocument:
    return ProblemDocument(
        type=f"{TYPE}{code}",
        title=code.replace("-", " "),
        status=status,
        detail=detail,
        message=detail,
        request_id=request_id(),
    )
