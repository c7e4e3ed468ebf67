"""The functions' own client follows a log: line by line, until either side closes it, with the errors of the shim."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from functions.adapters.shim import ShimClient
from functions.domain.errors import ToolboxRefused
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.shim.functions_client import Serve, soon


def test_followed_log_arrives_line_by_line_until_closed(serve: Serve, client_of: Callable[..., ShimClient]) -> None:
    app, closed, ours = Flask("shim"), threading.Event(), {routes.CONTRACT_HEADER: str(routes.CONTRACT)}

    @app.get("/tools/x/logs/follow")
    def follow() -> tuple[Iterator[bytes], dict[str, str]]:
        def lines() -> Iterator[bytes]:
            try:
                yield b"{}\n"
                yield b'{"line": {"time": "t", "stream": "stdout", "text": "one"}}\n'
                while True:
                    time.sleep(0.05)
                    yield b"{}\n"
            finally:
                closed.set()

        return lines(), ours

    lines = client_of(serve(app)).follow("x", start_by=soon(), query="tail=1")
    assert next(lines) == messages.FollowLine()
    assert next(lines).line == messages.LogLine("t", "stdout", "one")
    assert not closed.is_set()
    lines.close()
    assert closed.wait(10)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{}\n{"error": {"code": "engine-unavailable", "message": "gone"}}\n', shim_errors.EngineUnavailable),
        (b'{}\n{"line": 1}\n', ToolboxRefused),
        (b"{}\n" + b"x" * (2 << 20), ToolboxRefused),
    ],
)
def test_error_inside_a_stream_is_raised(
    serve: Serve, client_of: Callable[..., ShimClient], body: bytes, expected: type[Exception]
) -> None:
    app, headers = Flask("shim"), {routes.CONTRACT_HEADER: str(routes.CONTRACT)}
    app.add_url_rule("/tools/x/logs/follow", view_func=lambda: (body, headers))
    lines = client_of(serve(app)).follow("x", start_by=soon(), query="")
    assert next(lines) == messages.FollowLine()
    with pytest.raises(expected):
        next(lines)


def test_follow_of_an_unknown_container_fails_at_once(client: ShimClient) -> None:
    with pytest.raises(shim_errors.NoSuchContainer):
        client.follow("x", start_by=soon(), query="")
