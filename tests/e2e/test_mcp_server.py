"""Deploy, use and delete an MCP server over HTTP, as the frontend does."""

import uuid
from typing import Any

import pytest

from infra.local.droplet import Droplet
from infra.local.toolbox import speak
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world


def test_mcp_server_is_deployed_called_stopped_started_and_deleted(
    tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    answer = tools.deploy(image, name, portMappings=[{"containerPort": 3001}])
    assert answer.status_code in (201, 202), answer.text
    record = tools.wait_for(name, "running")
    port = record["ports"][0]["host_port"]
    server, tool_names = speak(str(droplet.address), port)
    assert "echo" in tool_names, server
    assert any("3001" in line for line in tools("GET", name, "/logs?tail=50").json()["logs"])
    assert tools("POST", name, "/stop").json()["status_on_toolbox"] == "stopped"
    assert record["container_name"] not in droplet.run("docker", "ps", "--format", "{{.Names}}")
    started = tools("POST", name, "/start").json()
    assert (started["status_on_toolbox"], started["container_id"]) == ("running", record["container_id"])
    restarted = tools("POST", name, "/restart").json()
    assert restarted["started_at"] > started["started_at"]
    assert speak(str(droplet.address), port)[1] == tool_names
    assert tools("DELETE", name).status_code == 200
    assert tools("GET", name).status_code == 404
    assert record["container_name"] not in droplet.run("docker", "ps", "--all", "--format", "{{.Names}}")


def test_unknown_image_ends_in_error_install_and_can_be_deleted(tools: Tools, image: str, name: str) -> None:
    assert tools.deploy(image.rpartition(":")[0] + ":no-such-tag", name).status_code == 202
    record = tools.wait_for(name, "error_install", seconds=20)
    assert record["status_reason"]["code"] == "image-unavailable"
    assert "not found" in record["instance_error_message"] or "unknown" in record["instance_error_message"]
    assert tools("DELETE", name).status_code == 200
    assert tools("GET", name).status_code == 404


def test_refresh_returns_the_toolboxs_metrics(api: Api, toolbox: dict[str, Any]) -> None:
    record = api("POST", f"/toolboxes-user/{toolbox['id']}/refresh-status").json()
    assert record["status"] == "active"
    assert record["dtma_health_details_json"]["system_metrics"]["memory"]["total_bytes"] > 1 << 28


def test_name_with_the_form_of_an_id_is_refused(tools: Tools, image: str) -> None:
    answer = tools.deploy(image, str(uuid.uuid4()))
    assert (answer.status_code, "form of a UUID" in answer.json()["message"]) == (400, True)
