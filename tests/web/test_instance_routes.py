"""PATCH, wait, events, post-mortems and Idempotency-Key, as a caller sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.droplet import IMAGE
from tests.fakes.world import TOOLBOX, World
from tests.web.conftest import Answer, Caller

TOOLS = f"/{TOOLBOX}/tools"
BODY = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE, "portMappings": [{"containerPort": 3000}]}
OTHER = "registry.test/server:2"


def send(call: Caller, method: str, path: str = "", **options: Any) -> Answer:
    return call(method, "toolbox-tools", TOOLS + path, **options)


@pytest.fixture
def deployed(call: Caller) -> dict[str, Any]:
    return dict(send(call, "POST", json=BODY).json)


def test_a_patch_changes_what_is_sent_and_keeps_the_rest(call: Caller, world: World, deployed: dict[str, Any]) -> None:
    world.droplet.images.add(OTHER)
    answer = send(call, "PATCH", "/server", json={"dockerImage": OTHER, "environmentVariables": {"A": "b"}})
    record = answer.json
    assert (answer.status_code, record["status_on_toolbox"], record["generation"]) == (200, "running", 2)
    assert record["spec"] == {**deployed["spec"], "dockerImage": OTHER, "environmentVariables": {"A": "b"}}
    assert record["container_name"] == f"tool-{record['id']}-g2"
    assert record["version"] == "2"


ONE_PORT_TWICE = [{"containerPort": 80, "hostPort": 20_001}, {"containerPort": 81, "hostPort": 20_001}]
WRONG = [
    {"instanceNameOnToolbox": "x"}, {"dockerImage": "Not An Image"}, {"start": False}, {"portMappings": ONE_PORT_TWICE},
    {"volumes": [{"name": "a", "path": "/data"}, {"name": "b", "path": "/data"}]},
]  # fmt: skip


@pytest.mark.parametrize("body", WRONG)
def test_a_patch_that_is_not_valid_changes_nothing(
    call: Caller, deployed: dict[str, Any], body: dict[str, Any]
) -> None:
    assert send(call, "PATCH", "/server", json=body).status_code == 400
    assert send(call, "GET", "/server").json == deployed


def test_a_wait_answers_at_once_what_is_so_already(call: Caller, deployed: dict[str, Any]) -> None:
    answer = send(call, "GET", "/server/wait?status=running&timeout=5")
    assert (answer.status_code, answer.json) == (200, deployed)


def test_a_wait_in_vain_is_a_408_with_the_record_as_it_stands(call: Caller, deployed: dict[str, Any]) -> None:
    answer = send(call, "GET", "/server/wait?status=stopped&timeout=5")
    assert (answer.status_code, answer.json) == (408, deployed)


@pytest.mark.parametrize("query", ["", "?status=happy", "?status=running&timeout=61", "?status=running&timeout=-1"])
def test_a_wait_for_what_cannot_be_is_refused(call: Caller, deployed: dict[str, Any], query: str) -> None:
    assert send(call, "GET", f"/server/wait{query}").status_code == 400


def test_events_are_paged_newest_first_with_their_fields(call: Caller, world: World, deployed: dict[str, Any]) -> None:
    world.pass_time(1)
    send(call, "POST", "/server/stop")
    first = send(call, "GET", "/server/events?limit=3")
    assert [event["type"] for event in first.json] == ["status_changed", "stop_requested", "status_changed"]
    assert list(first.json[0]) == ["id", "time", "type", "actor", "generation", "from", "to", "detail"]
    assert (first.json[0]["from"], first.json[0]["to"], first.json[0]["actor"]) == ("stopping", "stopped", "converge")
    assert first.json[1]["actor"] == deployed["user_id"]
    rest = send(call, "GET", "/server/events" + first.headers["Link"].partition(">")[0].removeprefix("<"))
    assert [event["type"] for event in rest.json] == ["deploy_requested"]


def test_a_deleted_instances_events_and_post_mortems_are_still_there_by_its_id(
    call: Caller, deployed: dict[str, Any]
) -> None:
    send(call, "DELETE", "/server")
    assert send(call, "GET", "/server/events").status_code == 404
    assert send(call, "GET", f"/{deployed['id']}").status_code == 404
    events = send(call, "GET", f"/{deployed['id']}/events").json
    assert events[0]["type"] == "deleted"
    [post_mortem] = send(call, "GET", f"/{deployed['id']}/post-mortems").json
    assert post_mortem["logs"] == ["2026-01-01T00:00:00.000000001Z stdout ready"]
    assert post_mortem["container"]["id"] == deployed["container_id"]
    assert post_mortem["missing"] == []


def test_what_a_post_mortem_could_not_fetch_is_named_in_it(
    call: Caller, world: World, deployed: dict[str, Any]
) -> None:
    world.droplet.logs_fail = True
    assert send(call, "DELETE", "/server").status_code == 200
    [post_mortem] = send(call, "GET", f"/{deployed['id']}/post-mortems").json
    assert post_mortem["logs"] == []
    assert "the engine does not answer" in post_mortem["missing"][0]


def test_a_request_sent_again_with_its_key_is_answered_the_same(call: Caller, world: World) -> None:
    first = send(call, "POST", json=BODY, headers={"Idempotency-Key": "k-1"})
    again = send(call, "POST", json=BODY, headers={"Idempotency-Key": "k-1"})
    assert (again.status_code, again.json) == (201, first.json)
    assert len(world.documents()) == 1


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
def test_a_verb_sent_again_with_its_key_is_done_once(
    call: Caller, world: World, deployed: dict[str, Any], verb: str
) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = send(call, "POST", f"/server/{verb}", headers=headers)
    calls = len(world.droplet.calls)
    again = send(call, "POST", f"/server/{verb}", headers=headers)
    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert len(world.droplet.calls) == calls


def test_a_key_with_another_request_is_a_422(call: Caller, deployed: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "k-1"}
    assert send(call, "POST", "/server/stop", headers=headers).status_code == 200
    answer = send(call, "POST", "/server/start", headers=headers)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:toolboxes:problem:idempotency-key-reused")
    assert send(call, "GET", "/server").json["status_on_toolbox"] == "stopped"


@pytest.mark.parametrize("key", ["", "with space", "x" * 256, "ü"])
def test_a_key_that_is_none_is_refused(call: Caller, deployed: dict[str, Any], key: str) -> None:
    answer = send(call, "POST", "/server/stop", headers={"Idempotency-Key": key})
    assert answer.status_code == 400
    assert send(call, "GET", "/server").json["status_on_toolbox"] == "running"


def test_a_deploy_that_memory_cannot_hold_is_a_507(call: Caller, world: World) -> None:
    world.droplet.memory_bytes = 1 << 30
    call("POST", "toolboxes-user", f"/{TOOLBOX}/refresh-status")
    assert send(call, "POST", json={**BODY, "resourceLimits": {"memory": "2g"}}).status_code == 507
    assert world.documents() == []


def test_a_record_and_an_event_show_which_host_port_took_the_place_of_a_taken_one(
    call: Caller, world: World, deployed: dict[str, Any]
) -> None:
    [previous_port] = deployed["ports"]
    world.droplet.held_ports = {previous_port["host_port"]}
    answer = send(call, "POST", "/server/restart")
    record, [port] = answer.json, answer.json["ports"]
    assert (answer.status_code, record["status_on_toolbox"], record["status_reason"]) == (200, "running", None)
    assert (record["generation"], record["observed_generation"]) == (2, 2)
    assert port == previous_port | {"host_port": port["host_port"]} != previous_port
    assert [mapping["hostPort"] for mapping in record["spec"]["portMappings"]] == [port["host_port"]]
    details = [
        event["detail"] for event in send(call, "GET", "/server/events").json if event["type"] == "port_reallocated"
    ]
    assert details == [f"{previous_port['host_port']}/tcp is in use: {port['host_port']} instead"]
