"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html

A comment line at least every 15 s shows a client that a silent stream is alive, and is how the function notices that
the client has gone. The function ends a long stream itself, since it holds one of the few threads.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Required

from flask import Response
from pydantic import Field
from typing_extensions import TypedDict

from functions.domain.errors import ToolboxesError
from functions.web.problems import ProblemDocument, internal_problem, problem_of
from functions.web.records import as_json
from functions.web.requests import request_id
from shim.contract.errors import ShimError

log = logging.getLogger(__name__)

COMMENT_EVERY = timedelta(seconds=15)
MAX_DURATION = timedelta(minutes=5)
COMMENT = ": \n\n"
# An id comes from a droplet: a line end in it would forge a field or an event, and NUL has the client ignore the id.
_LINE_END = re.compile("[\r\n\0]")


class LogEvent(TypedDict, total=False):
    """One event of a followed log."""

    event: Annotated[str, Field(description="`end`, `problem`, or left out for a line of the log.")]
    id: Annotated[str, Field(description="The line's time.")]
    data: Required[Annotated[str, Field(description="The line, the reason of the end, or a problem document.")]]


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    data: str
    type: str = ""
    id: str = ""

    def __str__(self) -> str:
        # Each of CRLF, CR and LF ends a line of the format, and so would end the event.
        lines = self.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        fields = (("event", _LINE_END.sub("", self.type)), ("id", _LINE_END.sub("", self.id)))
        named = [f"{name}: {value}" for name, value in fields if value]
        return "\n".join([*named, *(f"data: {line}" for line in lines)]) + "\n\n"


def stream(
    events: Iterator[ServerSentEvent | None], now: Callable[[], datetime], close: Callable[[], None]
) -> Response:
    """The events as an answer; a None shows that the source is alive. `close` is called however the stream ends."""
    response = Response(_text(events, now, request_id()), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(close)
    return response


def _text(events: Iterator[ServerSentEvent | None], now: Callable[[], datetime], request: str) -> Iterator[str]:
    """The outermost edge of a stream: its status has been sent, so an error becomes its last event.

    `request` is the request's id: its Flask context has ended by then.
    """
    until, commented = now() + MAX_DURATION, now()
    yield COMMENT
    try:
        for event in events:
            if event is None or now() - commented >= COMMENT_EVERY:
                commented = now()
                yield COMMENT
            if event:
                yield str(event)
            if now() >= until:
                yield _end(f"The stream has lasted {MAX_DURATION.total_seconds():.0f} seconds. Follow again.")
                return
        yield _end("The log has ended: the container has stopped.")
    except (ToolboxesError, ShimError) as error:
        yield _problem(problem_of(error), request)
    except Exception:
        log.exception("unexpected error while streaming the answer of request %s", request)
        yield _problem(internal_problem(), request)


def _problem(problem: ProblemDocument, request: str) -> str:
    return str(ServerSentEvent(json.dumps({**as_json(problem), "request_id": request}), "problem"))


def _end(reason: str) -> str:
    return str(ServerSentEvent(json.dumps({"reason": reason}), "end"))
