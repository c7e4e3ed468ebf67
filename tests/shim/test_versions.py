"""Each change of the contract has a new version. The functions speak the present and the previous version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from functions.adapters import shim_versions
from functions.adapters.shim import ShimClient
from functions.domain.errors import ShimIncompatible, ShimTooOld
from functions.domain.toolbox.model import Toolbox
from shim.contract import errors, messages, routes
from shim.contract.routes import Route
from tests.shim.contracts import described, recorded
from tests.shim.droplet import create
from tests.shim.fake_engine import FakeEngine
from tests.shim.functions_client import Serve, soon
from tests.shim.version_1 import Peer

NAME = "tool-0a1b2c3d-0000-4000-8000-000000000001-g1"
# Messages of the present version, for routes that are the same in the previous version.
BODIES: dict[Route, Any] = {
    routes.CREATE: create("probe:1", "sh", ports=[messages.Port(80, 20_000)], environment={"A": "1"}),
    routes.STOP: messages.Stop(5),
    routes.RESTART: messages.Restart("t"),
    routes.EXECUTE: messages.Execute(["true"]),
    routes.UPGRADE: messages.Upgrade("probe@sha256:" + "0" * 64),
}
STREAMS = (routes.PULL, routes.FOLLOW, routes.SAVE, routes.LOAD)
SHARED = [route for route in routes.ROUTES if route not in (*shim_versions.NEW, *STREAMS, routes.RELAY, routes.HEALTH)]


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def speak(serve: Serve, client_of: Callable[..., ShimClient], peer: Peer) -> Callable[..., ShimClient]:
    """Makes a client of the peer, with this version in the record of the toolbox."""
    address = serve(peer.app)

    def client(known: int | None) -> ShimClient:
        made = client_of(address)
        made._toolbox = dataclasses.replace(made._toolbox, contract=known)
        return made

    return client


def test_contract_is_the_one_recorded_for_its_version() -> None:
    """If this fails, the contract has changed and needs a new version: see shim/README.md, "Contract and versions"."""
    assert described() == recorded(routes.CONTRACT)


def test_previous_version_is_the_number_before_and_is_recorded() -> None:
    assert shim_versions.PREVIOUS == routes.CONTRACT - 1 == recorded(shim_versions.PREVIOUS)["contract"]


def test_every_present_route_is_new_or_recorded_or_converted() -> None:
    old = {(route["method"], route["path"]) for route in recorded(1)["routes"]}
    new = {route for route in routes.ROUTES if (route.method, route.path) not in old}
    assert new == {*shim_versions.NEW, routes.RELAY}


@pytest.mark.parametrize("known", [None, 1, 2, 7])
@pytest.mark.parametrize("route", SHARED, ids=lambda route: f"{route.method} {route.path}")
def test_unchanged_route_works_with_a_previous_shim(
    speak: Callable[..., ShimClient], peer: Peer, route: Route, known: int | None
) -> None:
    body = BODIES.get(route, messages.Nothing())
    answer = speak(known).command(route, name=NAME, body=body, start_by=soon())
    assert isinstance(answer, route.answer)
    assert [(method, json.dumps(sent)) for method, _, sent in peer.received] == [
        (route.method, json.dumps(dataclasses.asdict(body)))
    ]
    # A correct record takes one request. Any other record takes one more.
    assert peer.refused == (0 if known == 1 else 1)


def test_status_and_its_etag_work_with_a_previous_shim(speak: Callable[..., ShimClient]) -> None:
    status, etag = speak(None).status(start_by=soon(), unless="")
    assert status and (status.contract, etag) == (1, '"1"')


def test_relay_is_the_request_route_of_a_previous_shim(speak: Callable[..., ShimClient], peer: Peer) -> None:
    response = {"status": 404, "headers": {"a": "b"}, "body": "x", "truncated": False}
    peer.answers["/tools/{name}/request"] = json.dumps(response).encode()
    request = messages.Request(80, "POST", "/mcp", {"accept": "a"}, "{}", 5)
    answer = speak(None).command(routes.RELAY, name=NAME, body=request, start_by=soon())
    assert answer == messages.Response(404, {"a": "b"}, "x", False)
    [(method, path, sent)] = peer.received
    assert (method, path, sent) == ("POST", f"/tools/{NAME}/request", dataclasses.asdict(request))


def test_progress_that_a_previous_shim_adds_up_is_passed_on(speak: Callable[..., ShimClient], peer: Peer) -> None:
    progress = {"bytes_done": 1, "bytes_total": 2, "layers_done": 0, "layers_total": 1}
    image = {"id": "sha256:1", "digest": "sha256:2", "size_bytes": 3}
    lines = [{"progress": progress, "image": None, "error": None}, {"progress": None, "image": image, "error": None}]
    peer.answers["/images/pull"] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    received: list[messages.Progress] = []
    pulled = speak(1).pull(messages.Pull("probe:1"), start_by=soon(), on_progress=received.append)
    assert (pulled, received) == (messages.Image("sha256:1", "sha256:2", 3), [messages.Progress(1, 2, 0, 1)])


def test_error_in_a_pull_of_a_previous_shim_is_raised(speak: Callable[..., ShimClient], peer: Peer) -> None:
    peer.answers["/images/pull"] = b'{"error": {"code": "image-denied", "message": "no"}}\n'
    with pytest.raises(errors.ImageDenied):
        speak(1).pull(messages.Pull("probe:1"), start_by=soon(), on_progress=lambda _: None)


def test_log_of_a_previous_shim_is_followed(speak: Callable[..., ShimClient], peer: Peer) -> None:
    line = {"line": {"time": "t", "stream": "stdout", "text": "x"}, "error": None}
    peer.answers["/tools/{name}/logs/follow"] = json.dumps(line).encode() + b"\n"
    lines = speak(None).follow(NAME, start_by=soon(), query="")
    assert [item.line for item in lines] == [messages.LogLine("t", "stdout", "x")]


@pytest.mark.parametrize("known", [None, 1])
@pytest.mark.parametrize("route", shim_versions.NEW, ids=lambda route: route.path)
def test_what_a_previous_shim_cannot_do_is_shim_too_old(
    speak: Callable[..., ShimClient], peer: Peer, route: Route, known: int | None
) -> None:
    with pytest.raises(ShimTooOld, match="Upgrade the shim") as raised:
        speak(known).command(route, body=messages.RemoveImages([]), start_by=soon())
    assert (raised.value.code, raised.value.status, peer.received) == ("shim-too-old", 409, [])


def test_upgraded_shim_answers_though_the_record_says_the_previous_version(
    serve: Serve, real_app: Callable[[str], Flask], client_of: Callable[..., ShimClient], fake_engine: FakeEngine
) -> None:
    client = client_of(serve(real_app(fake_engine.url)))
    client._toolbox = dataclasses.replace(client._toolbox, contract=1)
    assert isinstance(client._toolbox, Toolbox)
    assert client.command(routes.STATUS, start_by=soon()).engine_id == "engine-1"


@pytest.mark.parametrize("header", ["3", "0", "x", "1\t"])
def test_other_version_is_shim_incompatible(serve: Serve, client_of: Callable[..., ShimClient], header: str) -> None:
    app = Flask("another")
    app.add_url_rule("/status", view_func=lambda: ("{}", 409, {routes.CONTRACT_HEADER: header}))
    with pytest.raises(ShimIncompatible, match="2 and 1"):
        client_of(serve(app)).command(routes.STATUS, start_by=soon())


def test_shim_that_changes_its_version_with_each_answer_is_given_up(
    serve: Serve, client_of: Callable[..., ShimClient]
) -> None:
    app, versions = Flask("liar"), iter("121212")
    refusal = {"error": {"code": "shim-incompatible", "message": "no"}}
    app.add_url_rule("/status", view_func=lambda: (refusal, 409, {routes.CONTRACT_HEADER: next(versions)}))
    with pytest.raises(ShimIncompatible):
        client_of(serve(app)).command(routes.STATUS, start_by=soon())
