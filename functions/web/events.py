"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html

A comment line at least every 15 s tells a silent stream from a dead one, and is how it is noticed that nobody listens
any more. A stream that lasts is ended by us, since it holds one of the function's few threads.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Required

from flask import Response
from typing_extensions import TypedDict

from functions.domain.errors import ToolboxesError
from functions.web import problems
from functions.web.requests import request_id
from shim.contract.errors import ShimError

log = logging.getLogger(__name__)

COMMENT_EVERY = timedelta(seconds=15)
LASTS = timedelta(minutes=5)
COMMENT = ": \n\n"


class EventRecord(TypedDict, total=False):
    """`event` is `end`, `problem` or left out: then `data` is a line; `id` is its time."""

    event: str
    id: str
    data: Required[str]


@dataclass(frozen=True, slots=True)
class Event:
    data: str
    kind: str = ""
    id: str = ""

    def __str__(self) -> str:
        # Any of the three ends a line there, and would otherwise end the event.
        lines = self.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        named = [f"{name}: {value}" for name, value in (("event", self.kind), ("id", self.id)) if value]
        return "\n".join([*named, *(f"data: {line}" for line in lines)]) + "\n\n"


def stream(told: Iterator[Event | None], now: Callable[[], datetime], close: Callable[[], None]) -> Response:
    """`told` as an answer, where None is a sign of life; `close` is called however it ends."""
    response = Response(_written(told, now, request_id()), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(close)
    return response


def _written(told: Iterator[Event | None], now: Callable[[], datetime], request: str) -> Iterator[str]:
    """The outermost edge of a stream: its status went out long ago, so what fails is its last event.

    The request's own context has ended by then, and with it whatever knows of its id.
    """
    until, commented = now() + LASTS, now()
    yield COMMENT
    try:
        for event in told:
            if event is None or now() - commented >= COMMENT_EVERY:
                commented = now()
                yield COMMENT
            if event:
                yield str(event)
            if now() >= until:
                yield _end(f"it has lasted {LASTS.total_seconds():.0f} seconds")
                return
        yield _end("nothing more will come")
    except (ToolboxesError, ShimError) as error:
        yield _failed(problems.document(error), request)
    except Exception:
        log.exception("unexpected error in what request %s streams", request)
        yield _failed(problems.internal(), request)


def _failed(problem: problems.ProblemDocument, request: str) -> str:
    return str(Event(json.dumps({**problem, "request_id": request}), "problem"))


def _end(reason: str) -> str:
    return str(Event(json.dumps({"reason": reason}), "end"))
