"""HTTP in and out: verify, parse, act, answer. The one place that turns errors into HTTP.

The order of checks: the token's head, before any byte of the body is read; the version, before the route, so that a
command of another version is never a 404; the route; the body's size and hash; the message.
"""

from __future__ import annotations

import json
import logging
import re
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
from werkzeug.routing import BaseConverter

from shim import __version__, streams
from shim.containers import Containers
from shim.contract import errors, messages, names, routes
from shim.contract.messages import Metrics
from shim.contract.routes import Route
from shim.contract.tokens import Claims, Verifier
from shim.images import Images
from shim.metrics import container_stats
from shim.server import ALLOW_BODY, CLIENT, Closed
from shim.streams import RelayRequest, Streams
from shim.upgrade import Process, Upgrader
from shim.volumes import Volumes

# What may last holds a thread of the server all the while: so many of each. The other routes never wait for them.
AT_ONCE = {
    routes.FOLLOW: 64,
    routes.RELAY: 64,
    routes.PULL: 4,
    routes.EXECUTE: 8,
    routes.STATS: 4,
    routes.SAVE: 2,
    routes.LOAD: 2,
}
_RELAY = re.compile(r"/tools/[^/?]+/relay/(?P<port>[1-9][0-9]{0,4})(?P<path>/.*)")
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


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes act on."""

    containers: Containers
    images: Images
    streams: Streams
    volumes: Volumes
    upgrader: Upgrader
    process: Process
    measure: Callable[[], Metrics]


def handlers(on: Services) -> dict[Route, Handler]:
    """What each route but /health and the relay does: answers its message, or an iterator of messages for NDJSON."""

    def status(command: Command) -> messages.Status:
        engine_id, listed = on.containers.list_all(limits=_flag(command, "limits"))
        if not _flag(command, "metrics"):
            return messages.Status(__version__, routes.CONTRACT, engine_id, True, listed)
        image = on.upgrader.current_image()
        return messages.Status(
            __version__, routes.CONTRACT, engine_id, True, listed, on.measure(), image, on.process.started_at
        )

    def lines(command: Command) -> tuple[str, int, str]:
        tail, since = command.query.get("tail", ""), command.query.get("since", "")
        return command.name, streams.parse_tail(tail), streams.parse_since(since)

    return {
        routes.STATUS: status,
        routes.CREATE: lambda command: on.containers.create(command.body, command.claims),
        routes.INSPECT: lambda command: on.containers.inspect(command.name, command.claims),
        routes.REMOVE: lambda command: on.containers.remove(command.name, command.claims),
        routes.START: lambda command: on.containers.start(command.name, command.claims),
        routes.STOP: lambda command: on.containers.stop(command.name, command.body.timeout, command.claims),
        routes.RESTART: lambda command: on.containers.restart(
            command.name, command.body.started_at, command.body.timeout, command.claims
        ),
        routes.LOGS: lambda command: on.streams.logs(*lines(command)),
        routes.FOLLOW: lambda command: on.streams.follow(*lines(command)),
        routes.STATS: lambda command: container_stats(on.containers.measure(command.name)),
        routes.EXECUTE: lambda command: on.streams.execute(command.name, command.body, command.claims),
        routes.SAVE: lambda command: on.volumes.save(command.name, command.volume, command.body),
        routes.LOAD: lambda command: on.volumes.load(command.name, command.volume, command.body, command.claims),
        routes.IMAGES: lambda command: on.images.list_all(),
        routes.REMOVE_IMAGES: lambda command: on.images.remove(command.body.references),
        routes.PULL: lambda command: on.images.pull(command.body),
        routes.UPGRADE: lambda command: on.upgrader.begin(command.body),
        routes.RESTART_SHIM: lambda command: on.process.restart(),
    }


def create_app(verifier: Verifier, on: Services) -> Flask:
    """Build the Flask app that checks each command's token and calls the service of its route."""
    app = Flask("shim", static_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.converters["anything"] = _Anything
    acts = handlers(on)
    for route in routes.ROUTES:
        if route is routes.HEALTH:
            path, view = route.path, _health
        elif route is routes.RELAY:
            path, view = "/tools/<name>/relay/<int:port>/<anything:path>", _relay_view(on.streams)
        else:
            path, view = route.path.replace("{", "<").replace("}", ">"), _view(route, acts[route])
        app.add_url_rule(
            path,
            endpoint=f"{route.method} {route.path}",
            view_func=view,
            methods=routes.RELAY_METHODS if route is routes.RELAY else [route.method],
            provide_automatic_options=False,
            strict_slashes=route is not routes.RELAY,
        )

    @app.before_request
    def verify() -> None:
        g.began = time.monotonic()
        if (request.method, request.path) == (routes.HEALTH.method, routes.HEALTH.path):
            return
        target = request.environ["REQUEST_URI"]
        g.claims = verifier.verify(request.headers.get("Authorization", ""), request.method, target)
        if g.claims.contract != routes.CONTRACT:
            raise errors.Incompatible(
                f"The command was signed for contract {g.claims.contract}, and this shim speaks contract "
                f"{routes.CONTRACT} (version {__version__})."
            )
        g.body = _read_body(routes.MAX_RELAY_BODY_BYTES if _RELAY.fullmatch(target) else routes.MAX_BODY_BYTES)
        verifier.accept(g.claims, g.body)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers[routes.CONTRACT_HEADER] = str(routes.CONTRACT)
        if request.path != routes.HEALTH.path:
            _log.info("%s %s %s", request.method, request.path[:200], response.status_code, extra=_log_context())
        return response

    app.register_error_handler(Exception, _error_response)
    return app


class _Anything(BaseConverter):
    """The rest of a path, also empty or with slashes at its ends. Percent-encoding is read from the raw target."""

    regex = ".*"
    part_isolating = False


def _read_body(max_bytes: int) -> bytes:
    """Raises BodyTooLarge, Busy, and Refused where it does not arrive in time."""
    # Of one that is too large twice as much is read, since a client that is cut off while it sends never sees why.
    request.environ.get(ALLOW_BODY, lambda count: None)(2 * max_bytes)
    try:
        body = request.get_data(cache=False)
    except (Closed, OSError) as error:
        raise errors.Refused("The request's body did not arrive whole in time.") from error
    if len(body) > max_bytes:
        raise errors.BodyTooLarge(f"The body is larger than {max_bytes} bytes.")
    return body


def _health() -> Response:
    return _answer(routes.HEALTH, messages.Health("ok", __version__, routes.CONTRACT))


def _view(route: Route, act: Handler) -> Callable[..., Response]:
    slots = _Slots(route)

    def view(name: str = "", volume: str = "") -> Response:
        try:
            body: Any = messages.read(route.body, g.body)
        except messages.Malformed as error:
            raise errors.Refused(f"{error}.") from None
        command = Command(g.claims, name, volume, body, _query(route))
        with slots.take() as slot:
            answer = act(command)
            if not isinstance(answer, Iterator):
                return _answer(route, answer)
            # The first line is awaited, so that what fails at once is an ordinary error.
            lines = _ndjson(next(answer, None), answer, route, _log_context())
            response = Response(lines, mimetype="application/x-ndjson")
            response.call_on_close(slot.pop_all().close)
            return response

    return view


def _relay_view(relays: Streams) -> Callable[..., Response]:
    slots = _Slots(routes.RELAY)

    def view(name: str, port: int, **_: str) -> Response:
        match = _RELAY.fullmatch(request.environ["REQUEST_URI"])
        if not match or not routes.RELAY_PATH.fullmatch(match["path"]) or port > 65_535:
            raise errors.Refused("A relayed request needs a port and a path of visible ASCII characters without `#`.")
        headers = streams.relay_headers(request.headers.items(), port)
        relayed = RelayRequest(port, request.method, match["path"], headers, g.body)
        with slots.take() as slot:
            answer = relays.relay(name, relayed, request.environ.get(CLIENT))
            body = b"".join(answer.chunks) if answer.is_whole else answer.chunks
            response = Response(body, answer.status)
            # Exactly the container's own, without Flask's default content type.
            response.headers.clear()
            response.headers.extend([*answer.headers, (routes.RELAYED_HEADER, "1")])
            if isinstance(body, bytes) and request.method != "HEAD":
                response.headers["Content-Length"] = str(len(body))
            if not answer.is_whole:
                response.call_on_close(slot.pop_all().close)
            return response

    return view


class _Slots:
    """How many commands of one route may be under way."""

    def __init__(self, route: Route) -> None:
        self._count = AT_ONCE.get(route, 0)
        self._semaphore = threading.BoundedSemaphore(self._count) if self._count else None

    def take(self) -> ExitStack:
        """Gives the slot back when it is closed. Raises Busy."""
        slot = ExitStack()
        if self._semaphore:
            if not self._semaphore.acquire(blocking=False):
                raise errors.Busy(f"{self._count} commands of this kind are under way, the most at once. Try again.")
            slot.callback(self._semaphore.release)
        return slot


def _flag(command: Command, name: str) -> bool:
    if (value := command.query.get(name, "0")) not in ("0", "1"):
        raise errors.Refused(f"{name} must be 0 or 1, not {value[:64]!r}.")
    return value == "1"


def _query(route: Route) -> dict[str, str]:
    if not request.query_string:
        return {}
    pairs = parse_qsl(request.query_string.decode("ascii", "replace"), keep_blank_values=True)
    if len(pairs) != len(dict(pairs)) or not dict(pairs).keys() <= set(route.query):
        raise errors.Refused(f"The query may hold, once each, {', '.join(route.query) or 'nothing'}.")
    return dict(pairs)


def _answer(route: Route, message: Any) -> Response:
    status = 202 if route in (routes.UPGRADE, routes.RESTART_SHIM) else 200
    response = Response(messages.dump(message), status, mimetype="application/json")
    if route is routes.STATUS and message.metrics is None:
        # A caller that knows the list already is answered 304 and reads nothing.
        response.add_etag()
        response.make_conditional(request)
    return response


def _ndjson(first: Any, rest: Iterator[Any], route: Route, context: dict[str, Any]) -> Iterator[bytes]:
    """The outermost edge of a stream: its status was sent long ago, so an error is its last line."""
    try:
        for line in chain([first] if first else [], rest):
            yield messages.dump(line) + b"\n"
    except Exception as error:
        yield messages.dump(route.answer(error=_wire_error(error, context)[0])) + b"\n"


def _error_response(error: Exception) -> Response:
    """The outermost edge of a request."""
    body, status = _wire_error(error, _log_context())
    return Response(json.dumps({"error": body}), status, mimetype="application/json")


def _wire_error(error: Exception, context: dict[str, Any]) -> tuple[dict[str, str], int]:
    """Code and message, and the HTTP status."""
    if isinstance(error, NotFound | MethodNotAllowed):
        error = errors.UnknownRoute("This shim has no such route.")
    elif isinstance(error, HTTPException):
        error = errors.Refused(error.description or "The request is not valid HTTP.")
    elif not isinstance(error, errors.ShimError):
        _log.error("An unexpected error.", exc_info=error, extra=context)
        error = errors.ShimError("Internal error. The shim's log has the details.")
    else:
        # Not its message, which quotes the command: the functions get that, and store it with secrets redacted.
        _log.warning("%s", error.code, extra=context)
    return {"code": error.code, "message": error.message}, error.status


def _log_context() -> dict[str, Any]:
    """The fields of a log line. They are not available once a stream runs, so a stream is given its own."""
    match = names.CONTAINER_NAME.search(request.path)
    return {
        "jti": g.claims.jti if "claims" in g else None,
        "instance": match["instance"] if match else None,
        "milliseconds": round((time.monotonic() - g.began) * 1000, 1),
    }
