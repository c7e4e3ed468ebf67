"""HTTP in and out: verify, parse, act, answer. The one place that turns errors into HTTP.

Token and contract are judged before the route is looked at, so that a command of another version is never a 404.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from shim import __version__, logs
from shim.contract import errors, messages, names, routes
from shim.contract.messages import Metrics
from shim.contract.routes import Route
from shim.contract.tokens import Claims, Verifier
from shim.images import Images
from shim.process import Process
from shim.successor import Successor
from shim.tools import Tools
from shim.volumes import Volumes

# What may last holds a thread of the server all the while: so many of each, and the other routes never wait for them.
AT_ONCE = {
    routes.FOLLOW: 64, routes.PULL: 4, routes.EXECUTE: 8, routes.REQUEST: 8, routes.STATS: 4,
    routes.SAVE: 2, routes.LOAD: 2,
}  # fmt: skip
# The key in a request's environment under which a server may ask to be told that the request is read to its end.
READ_WHOLE = "toolboxes.read-whole"
_log = logging.getLogger("shim")


@dataclass(frozen=True, slots=True)
class Command:
    """One verified request. `name` is the container's and `volume` its volume's, "" where the route has none."""

    claims: Claims
    name: str
    volume: str
    body: Any
    query: dict[str, str]


Handler = Callable[[Command], Any]


def handlers(
    tools: Tools,
    images: Images,
    volumes: Volumes,
    successor: Successor,
    measure: Callable[[], Metrics],
    process: Process,
) -> dict[Route, Handler]:
    """What each route but /health does: answers its message, or an iterator of messages for NDJSON."""

    def status(command: Command) -> messages.Status:
        engine_id, listed = tools.listing(limits=_flag(command, "limits"))
        if not _flag(command, "metrics"):
            return messages.Status(__version__, routes.CONTRACT, engine_id, True, listed)
        measured, image = measure(), successor.image()
        return messages.Status(
            __version__, routes.CONTRACT, engine_id, True, listed, measured, image, process.started_at
        )

    def lines(command: Command) -> tuple[str, int, str]:
        tail, since = command.query.get("tail", ""), command.query.get("since", "")
        return command.name, logs.line_count(tail), logs.since(since)

    return {
        routes.STATUS: status,
        routes.CREATE: lambda command: tools.create(command.body, command.claims),
        routes.INSPECT: lambda command: tools.inspect(command.name, command.claims),
        routes.REMOVE: lambda command: tools.remove(command.name, command.claims),
        routes.START: lambda command: tools.start(command.name, command.claims),
        routes.STOP: lambda command: tools.stop(command.name, command.body.timeout, command.claims),
        routes.RESTART: lambda command: tools.restart(
            command.name, command.body.started_at, command.body.timeout, command.claims
        ),
        routes.LOGS: lambda command: tools.logs(*lines(command)),
        routes.FOLLOW: lambda command: tools.follow(*lines(command)),
        routes.STATS: lambda command: tools.stats(command.name),
        routes.EXECUTE: lambda command: tools.execute(command.name, command.body, command.claims),
        routes.REQUEST: lambda command: tools.request(command.name, command.body),
        routes.SAVE: lambda command: volumes.save(command.name, command.volume, command.body),
        routes.LOAD: lambda command: volumes.load(command.name, command.volume, command.body, command.claims),
        routes.PRUNE: lambda command: images.prune(command.body),
        routes.UPGRADE: lambda command: successor.begin(command.body),
        routes.RESTART_SHIM: lambda command: process.restart(),
        routes.PULL: lambda command: images.pull(command.body),
    }


def _flag(command: Command, name: str) -> bool:
    if (wanted := command.query.get(name, "0")) not in ("0", "1"):
        raise errors.Refused(f"{name} is {wanted[:64]!r}, neither 0 nor 1")
    return wanted == "1"


def create_app(verifier: Verifier, acts: dict[Route, Handler]) -> Flask:
    app = Flask("shim", static_folder=None)
    app.url_map.merge_slashes = False
    for route in routes.ROUTES:
        view = _health if route == routes.HEALTH else _view(route, acts[route])
        app.add_url_rule(
            route.path.replace("{", "<").replace("}", ">"),
            endpoint=f"{route.method} {route.path}",
            view_func=view,
            methods=[route.method],
            provide_automatic_options=False,
        )

    @app.before_request
    def verify() -> None:
        g.began = time.monotonic()
        if (request.method, request.path) == (routes.HEALTH.method, routes.HEALTH.path):
            return
        target = request.environ["REQUEST_URI"]
        header = request.headers.get("Authorization", "")
        # Read whole, within the server's bound, also where it is too large: a client that is cut off while it sends
        # never sees the answer.
        body = request.get_data(cache=True)
        request.environ.get(READ_WHOLE, lambda: None)()
        if len(body) > routes.MAX_BODY_BYTES:
            raise errors.BodyTooLarge(f"the body is larger than {routes.MAX_BODY_BYTES} bytes")
        g.claims = verifier.verify(header, request.method, target, body)
        if g.claims.contract != routes.CONTRACT:
            raise errors.Incompatible(
                f"the command speaks contract {g.claims.contract}, this shim {__version__} speaks {routes.CONTRACT}"
            )

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers[routes.CONTRACT_HEADER] = str(routes.CONTRACT)
        if request.path != routes.HEALTH.path:
            words = "%s %s %s", request.method, request.path[:200], response.status_code
            _log.info(*words, extra=_context())
        return response

    app.register_error_handler(Exception, _refusal)
    return app


def _health() -> Response:
    return _answer(routes.HEALTH, messages.Health("ok", __version__, routes.CONTRACT))


def _view(route: Route, act: Handler) -> Callable[..., Response]:
    room = threading.BoundedSemaphore(AT_ONCE[route]) if route in AT_ONCE else None

    def view(name: str = "", volume: str = "") -> Response:
        try:
            body: Any = messages.read(route.body, request.get_data())
        except messages.Malformed as error:
            raise errors.Refused(str(error)) from None
        command = Command(g.claims, name, volume, body, _query(route))
        if room and not room.acquire(blocking=False):
            raise errors.Busy(f"{AT_ONCE[route]} of these are under way, as many as may be at once")
        with ExitStack() as left:
            if room:
                left.callback(room.release)
            answer = act(command)
            if not isinstance(answer, Iterator):
                return _answer(route, answer)
            # Its first line is awaited, so that what fails at once is an ordinary error.
            lines = _streamed(next(answer, None), answer, route, _context())
            response = Response(lines, mimetype="application/x-ndjson")
            response.call_on_close(left.pop_all().close)
            return response

    return view


def _query(route: Route) -> dict[str, str]:
    pairs = parse_qsl(request.query_string.decode("ascii", "replace"), keep_blank_values=True)
    if len(pairs) != len(dict(pairs)) or not dict(pairs).keys() <= set(route.query):
        raise errors.Refused(f"the query may hold, once each, {', '.join(route.query) or 'nothing'}")
    return dict(pairs)


def _answer(route: Route, message: Any) -> Response:
    status = 202 if route in (routes.UPGRADE, routes.RESTART_SHIM) else 200
    response = Response(messages.dump(message), status, mimetype="application/json")
    if route == routes.STATUS and message.metrics is None:
        response.add_etag()
        response.make_conditional(request)
    return response


def _streamed(first: Any, rest: Iterator[Any], route: Route, context: dict[str, Any]) -> Iterator[bytes]:
    """The outermost edge of a stream: its status went out long ago, so what fails is its last line."""
    try:
        for line in chain([first] if first else [], rest):
            yield messages.dump(line) + b"\n"
    except Exception as error:
        yield messages.dump(route.answer(error=_told(error, context)[0])) + b"\n"


def _refusal(error: Exception) -> Response:
    told, status = _told(error, _context())
    return Response(json.dumps({"error": told}), status, mimetype="application/json")


def _told(error: Exception, context: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Code and sentence, and the HTTP status."""
    if isinstance(error, NotFound | MethodNotAllowed):
        error = errors.UnknownRoute("this shim has no such route")
    elif isinstance(error, HTTPException):
        error = errors.Refused(error.description or "the request is not valid HTTP")
    elif not isinstance(error, errors.ShimError):
        _log.error("an error that nobody foresaw", exc_info=error, extra=context)
        error = errors.ShimError("internal error")
    else:
        _log.warning("%s: %s", error.code, error.message, extra=context)
    return {"code": error.code, "message": error.message}, error.status


def _context() -> dict[str, Any]:
    """What a log line carries; all of it is gone once a stream runs, so a stream is given its own."""
    match = names.CONTAINER_NAME.search(request.path)
    return {
        "jti": g.claims.jti if "claims" in g else None,
        "instance": match["instance"] if match else None,
        "milliseconds": round((time.monotonic() - g.began) * 1000, 1),
    }
