"""The contract: every route is called with the functions' own client, over TLS, on the real shim and a real engine.

The system that this one replaces had two agents with different APIs, and nobody could tell "no such route" from "no
such container". Here both sides are built from shim/contract/, and these tests hold them to it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from functions.adapters.shim import ShimClient
from functions.domain.errors import ShimIncompatible, ToolboxRefused, ToolboxUnreachable
from shim.contract import errors as shim_errors
from shim.contract import messages, names, routes
from shim.contract.routes import Route
from tests.shim.droplet import Droplet, create
from tests.shim.fake_engine import FakeEngine
from tests.shim.functions_client import ADDRESSES, Serve, soon


@pytest.mark.docker
def test_every_route_works_from_client_to_engine(
    serve: Serve,
    real_app: Callable[[str], Flask],
    client_of: Callable[..., ShimClient],
    droplet: Droplet,
    busybox: str,
    engine_socket: str,
) -> None:
    client = client_of(serve(real_app(engine_socket)))
    walked: list[Route] = []

    def go(route: Route, **options: Any) -> Any:
        walked.append(route)
        answer: Any = client.command(route, start_by=soon(), **options)
        assert isinstance(answer, route.answer)
        return answer

    assert go(routes.HEALTH).contract == routes.CONTRACT
    body = create(busybox, "sh", "-c", "echo hello; sleep 600")
    made = go(routes.CREATE, body=body).container
    assert (made.state, made.instance_id) == ("created", body.instance_id)
    name = names.container_name(body.instance_id, 1)
    started = go(routes.START, name=name).container
    assert started.state == "running"
    assert go(routes.INSPECT, name=name).container == started
    assert [listed.name for listed in go(routes.STATUS).containers] == [name]
    assert [line.text for line in go(routes.LOGS, name=name, query="tail=10").lines] == ["hello"]
    # The error of an unknown container is enough, since not every machine lets its engine measure.
    with pytest.raises(shim_errors.NoSuchContainer):
        go(routes.STATS, name="x")
    assert go(routes.EXECUTE, name=name, body=messages.Execute(["echo", "hi"])).stdout == "hi\n"
    with pytest.raises(shim_errors.NotAnswering):
        go(routes.RELAY, name=name, body=messages.Request(80, "GET", "/"))
    assert busybox in [reference for image in go(routes.IMAGES).images for reference in image.references if image.used]
    # An image that a container uses is not removed.
    assert go(routes.REMOVE_IMAGES, body=messages.RemoveImages([busybox, "never-pulled:1"])).removed == []
    restart = messages.Restart(started.started_at, timeout=0)
    assert go(routes.RESTART, name=name, body=restart).container.started_at != started.started_at
    assert go(routes.STOP, name=name, body=messages.Stop(timeout=0)).container.state == "exited"
    assert go(routes.REMOVE, name=name).container is None
    # Refused because this shim does not run in a container.
    with pytest.raises(shim_errors.Refused):
        go(routes.UPGRADE, body=messages.Upgrade("probe@sha256:" + "0" * 64))
    # RESTART_SHIM would end the process of this test. Another test calls it in a process that may end.
    walked.append(routes.RESTART_SHIM)
    # Streams, which the client reads with separate methods, and the routes that no function calls.
    walked += [routes.PULL, routes.FOLLOW, routes.SAVE, routes.LOAD]
    with pytest.raises(shim_errors.RegistryUnreachable):
        client.pull(messages.Pull("127.0.0.1:1/nothing:1"), start_by=soon(), on_progress=lambda progress: None)
    assert set(walked) == set(routes.ROUTES)


def test_unknown_route_and_unknown_container_differ(client: ShimClient) -> None:
    invented = Route("POST", "/tools/{name}/explode", messages.Nothing, messages.ActionResult)
    name = names.container_name(str(uuid.uuid4()), 1)
    with pytest.raises(shim_errors.UnknownRoute):
        client.command(invented, name=name, start_by=soon())
    with pytest.raises(shim_errors.NoSuchContainer):
        client.command(routes.START, name=name, start_by=soon())


@pytest.mark.parametrize("route", [r for r in routes.ROUTES if r.answer in (messages.ActionResult, messages.Status)])
def test_shim_of_another_contract_is_incompatible_on_every_route(
    serve: Serve, client_of: Callable[..., ShimClient], route: Route
) -> None:
    """A shim of another version may give any answer, often a 404. Its version is in the header of the answer."""
    other = Flask("another shim")
    other.register_error_handler(404, lambda error: ('{"error": "no"}', 404, {routes.CONTRACT_HEADER: "3"}))
    with pytest.raises(ShimIncompatible, match=r"contract 3, .* 2 and 1"):
        client_of(serve(other)).command(route, name="x", start_by=soon())


def test_server_that_is_no_shim_is_incompatible(serve: Serve, client_of: Callable[..., ShimClient]) -> None:
    with pytest.raises(ShimIncompatible, match="none"):
        client_of(serve(Flask("a web server"))).command(routes.STATUS, start_by=soon())


def test_unpinned_certificate_is_sent_nothing(
    serve: Serve, real_app: Callable[[str], Flask], fake_engine: FakeEngine, client_of: Callable[..., ShimClient]
) -> None:
    address = serve(real_app(fake_engine.url))
    with pytest.raises(ToolboxUnreachable):
        client_of(address, fingerprint="ab" * 32).command(routes.REMOVE, name="x", start_by=soon())
    assert fake_engine.calls == []


def test_refused_connection_is_unreachable(client_of: Callable[..., ShimClient]) -> None:
    with pytest.raises(ToolboxUnreachable):
        client_of(next(ADDRESSES)).command(routes.STATUS, start_by=soon())


def test_answer_outside_the_contract_is_refused(serve: Serve, client_of: Callable[..., ShimClient]) -> None:
    liar = Flask("liar")
    ours = {routes.CONTRACT_HEADER: str(routes.CONTRACT)}
    liar.add_url_rule("/status", "status", lambda: ('{"version": 1}', 200, ours))
    liar.add_url_rule("/tools/x", "inspect", lambda: ("Teapot", 418, ours))
    client = client_of(serve(liar))
    with pytest.raises(ToolboxRefused, match="contract"):
        client.command(routes.STATUS, start_by=soon())
    with pytest.raises(ToolboxRefused, match="418"):
        client.command(routes.INSPECT, name="x", start_by=soon())


def test_command_signed_before_the_shim_started_is_signed_again(
    serve: Serve, client_of: Callable[..., ShimClient], real_app: Callable[[str], Flask], fake_engine: FakeEngine
) -> None:
    """A shim that has just restarted answers `token-stale` first. The client retries without an error."""
    app, stale = real_app(fake_engine.url), [1]

    @app.before_request
    def restarted() -> None:
        if stale.pop() if stale else 0:
            raise shim_errors.TokenStale("the token was issued before this shim started")

    answer = client_of(serve(app)).command(routes.STATUS, start_by=soon())
    assert answer.engine_id == "engine-1"


def test_expired_command_starts_nothing(client: ShimClient, fake_engine: FakeEngine) -> None:
    name = names.container_name(str(uuid.uuid4()), 1)
    with pytest.raises(shim_errors.TokenStale):
        client.command(routes.START, name=name, start_by=datetime.now(UTC) - timedelta(seconds=1))
    assert fake_engine.acts() == []


@pytest.mark.parametrize("code", sorted(shim_errors.ERRORS))
def test_every_error_arrives_as_its_class(serve: Serve, client_of: Callable[..., ShimClient], code: str) -> None:
    error = shim_errors.ERRORS[code]
    body = {"error": {"code": error.code, "message": "why"}}
    app = Flask("shim")
    header = {routes.CONTRACT_HEADER: str(routes.CONTRACT)}
    app.add_url_rule("/status", view_func=lambda: (body, error.status, header))
    expected: type[Exception] = ShimIncompatible if error is shim_errors.Incompatible else error
    with pytest.raises(expected, match="why") as raised:
        client_of(serve(app)).command(routes.STATUS, start_by=soon())
    assert type(raised.value) is expected
