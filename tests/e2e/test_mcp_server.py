"""The main job, end to end, through HTTP only, as the frontend drives it."""

import uuid
from typing import Any

import pytest
import requests

from infra.local import authority
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.toolbox import ACCOUNT, speak
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world


def test_a_real_mcp_server_is_deployed_spoken_to_stopped_started_and_deleted(
    tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    answer = tools.deploy(image, name, portMappings=[{"containerPort": 3001}])
    assert answer.status_code in (201, 202), answer.text
    record = tools.wait_for(name, "running")
    port = record["ports"][0]["host_port"]
    server, listed = speak(str(droplet.address), port)
    assert "echo" in listed, server
    assert any("3001" in line for line in tools("GET", name, "/logs?tail=50").json()["logs"])
    assert tools("POST", name, "/stop").json()["status_on_toolbox"] == "stopped"
    assert record["container_name"] not in droplet.run("docker", "ps", "--format", "{{.Names}}")
    started = tools("POST", name, "/start").json()
    assert (started["status_on_toolbox"], started["container_id"]) == ("running", record["container_id"])
    restarted = tools("POST", name, "/restart").json()
    assert restarted["started_at"] > started["started_at"]
    assert speak(str(droplet.address), port)[1] == listed
    assert tools("DELETE", name).status_code == 200
    assert tools("GET", name).status_code == 404
    assert record["container_name"] not in droplet.run("docker", "ps", "--all", "--format", "{{.Names}}")


def test_an_image_that_does_not_exist_ends_in_error_install_with_the_registrys_reason_and_can_be_deleted(
    tools: Tools, image: str, name: str
) -> None:
    assert tools.deploy(image.rpartition(":")[0] + ":no-such-tag", name).status_code == 202
    record = tools.wait_for(name, "error_install", seconds=20)
    assert record["status_reason"]["code"] == "image-unavailable"
    assert "not found" in record["instance_error_message"] or "unknown" in record["instance_error_message"]
    assert tools("DELETE", name).status_code == 200
    assert tools("GET", name).status_code == 404


@pytest.mark.parametrize("prefix", ["", "/functions/v1", "/api"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_gateway_serves_each_function_under_every_prefix(api: Api, prefix: str, slash: str) -> None:
    answer = api("GET", f"{prefix}/toolboxes-user{slash}")
    assert answer.status_code == 200
    assert {toolbox["user_id"] for toolbox in answer.json()} == {ACCOUNT}


def test_a_look_at_the_toolbox_shows_its_metrics(api: Api, toolbox: dict[str, Any]) -> None:
    seen = api("POST", f"/toolboxes-user/{toolbox['id']}/refresh-status").json()
    assert seen["status"] == "active"
    assert seen["dtma_health_details_json"]["system_metrics"]["memory"]["total_bytes"] > 1 << 28


@pytest.mark.parametrize("token", ["none", "expired", "other account"])
def test_a_stranger_reaches_nothing(local_world: World, tools: Tools, name: str, token: str) -> None:
    issuer = Issuer(local_world)
    held = {"none": None, "expired": issuer.token(ACCOUNT, -60), "other account": issuer.token("somebody-else")}
    answer = Tools(Api(local_world.gateway, held[token]), tools.path.split("/")[2]).deploy("nginx", name)
    assert answer.status_code == (404 if token == "other account" else 401)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert tools("GET", name).status_code == 404


@pytest.mark.parametrize("function", ["converge", "sweep"])
def test_a_callers_token_opens_no_function_of_the_platform(api: Api, function: str) -> None:
    assert api("POST", f"/{function}").status_code == 401


def test_a_body_over_a_megabyte_is_refused_through_the_gateway(tools: Tools, image: str, name: str) -> None:
    answer = tools.deploy(image, name, environmentVariables={"A": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:toolboxes:problem:payload-too-large")


def test_a_name_that_is_an_id_is_refused(tools: Tools, image: str) -> None:
    answer = tools.deploy(image, str(uuid.uuid4()))
    assert (answer.status_code, "id's form" in answer.json()["message"]) == (400, True)


def test_droplets_reach_by_tls_what_is_theirs_and_nothing_else(local_world: World) -> None:
    session = requests.Session()
    session.trust_env = False
    with pytest.raises(requests.exceptions.SSLError):
        session.get(f"{local_world.droplets_gateway}/notify", timeout=10)
    session.verify = str(authority.CERTIFICATE)
    assert session.post(f"{local_world.droplets_gateway}/notify", timeout=10).status_code == 401
    assert session.post(f"{local_world.droplets_gateway}/enrol", timeout=10).status_code == 400
    for function in ("toolboxes-user", "toolbox-tools", "converge", "sweep", "issuer/jwks.json", "functions/v1/notify"):
        assert session.get(f"{local_world.droplets_gateway}/{function}", timeout=10).status_code == 404
