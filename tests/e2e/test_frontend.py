"""The existing frontend's calls, unmodified: made with its own library in Node, under a browser's CORS rules."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.digitalocean.account import Account
from infra.local.issuer import Issuer
from infra.local.processes import BIN
from infra.local.toolbox import ACCOUNT
from infra.local.world import STATE, World
from tests.e2e.conftest import Api

pytestmark = pytest.mark.world
SOURCE = Path(__file__).resolve().parent / "frontend"
SCRIPT_SECONDS = 240


@pytest.fixture(scope="module")
def folder() -> Path:
    """A folder outside the checkout with the script and its npm packages."""
    folder = STATE / "build/frontend"
    installed = folder / "package.json"
    current = installed.exists() and installed.read_text() == (SOURCE / "package.json").read_text()
    if not current:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install = [str(BIN / "npm"), "install", "--omit=dev", "--no-package-lock", "--prefix", str(folder)]
        shutil.copy2(SOURCE / "package.json", folder / "package.json")
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    for script in SOURCE.glob("*.mjs"):
        shutil.copy2(script, folder / script.name)
    return folder


@pytest.fixture(scope="module")
def output(folder: Path, local_world: World, api: Api, toolbox: dict[str, Any], image: str) -> Iterator[dict[str, Any]]:
    name = f"frontend {uuid.uuid4().hex[:8]}"
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAY": local_world.gateway,
        "TOKEN": Issuer(local_world).token(ACCOUNT),
        "TOOLBOX": toolbox["id"],
        "IMAGE": image,
        "NEW_TOOLBOX": name,
    }
    command = [str(BIN / "node"), str(folder / "calls.mjs")]
    try:
        finished = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=SCRIPT_SECONDS, check=False
        )
        assert finished.returncode == 0, finished.stderr
        yield json.loads(finished.stdout)
    finally:
        # The script deletes this toolbox itself, unless it failed earlier.
        for record in api("GET", "/toolboxes-user").json():
            if record["name"] == name:
                api("DELETE", f"/toolboxes-user/{record['id']}")


@pytest.fixture
def answers(output: dict[str, Any]) -> dict[str, Any]:
    return dict(output["answers"])


def test_toolboxes_are_listed_shown_and_refreshed(answers: dict[str, Any], toolbox: dict[str, Any]) -> None:
    assert toolbox["id"] in [record["id"] for record in answers["toolboxes"]["data"]]
    assert [record["id"] for record in answers["toolboxes, plain"]["data"]] == [
        record["id"] for record in answers["toolboxes"]["data"]
    ]
    assert (answers["toolbox"]["data"]["id"], answers["refreshed"]["data"]["status"]) == (toolbox["id"], "active")
    assert answers["refreshed"]["data"]["dtma_health_details_json"]["system_metrics"]["memory"]["total_bytes"] > 0


def test_toolbox_is_provisioned_becomes_active_and_is_deprovisioned(answers: dict[str, Any], cloud: Account) -> None:
    requested, active = answers["provisioned"]["data"], answers["active"]["data"]
    assert (requested["id"], requested["status"]) == (active["id"], "pending_provision")
    assert (active["region_slug"], active["size_slug"]) == ("fra1", "s-2vcpu-4gb")
    assert active["public_ip_address"] and active["do_droplet_id"]
    assert active["id"] in [record["id"] for record in answers["toolboxes with it"]["data"]]
    assert answers["deprovisioned"]["data"]["status"] in ("pending_deprovision", "deprovisioning", "deprovisioned")
    assert answers["deprovisioned toolbox"]["data"]["status"] == "deprovisioned"
    assert active["do_droplet_id"] not in [str(droplet["id"]) for droplet in cloud.droplets()]


def test_error_has_a_message_that_the_frontend_can_read(answers: dict[str, Any]) -> None:
    for call in ("unknown toolbox", "action on an unknown instance"):
        problem = answers[call]["data"]
        assert (answers[call]["status"], problem["message"]) == (404, problem["detail"])


def test_regions_and_sizes_are_bare_arrays(answers: dict[str, Any]) -> None:
    assert answers["regions"]["data"] == answers["regions, plain"]["data"]
    assert answers["regions"]["data"][0]["slug"] and answers["sizes"]["data"][0]["slug"]


def test_deploy_with_nested_fields_runs(output: dict[str, Any], answers: dict[str, Any]) -> None:
    record = answers["running"]["data"]
    assert (record["status_on_toolbox"], record["instance_name_on_toolbox"]) == ("running", output["name"])
    assert (record["tool_catalog_id"], record["mcp_transport_type"], record["mcp_endpoint_path"]) == (
        "catalogue-1",
        "streamable-http",
        "/mcp",
    )
    assert record["ports"][0]["host_port"] in range(20_000, 30_000)
    assert record["mcp"]["tools_count"] > 0
    assert record["id"] in [instance["id"] for instance in answers["instances"]["data"]]
    assert answers["instance by id"]["data"]["id"] == answers["instance by name, plain"]["data"]["id"] == record["id"]
    overview = answers["overview"]["data"]
    assert (overview["success"], overview["dtma_connected"]) == (True, True)
    assert record["id"] in [instance["id"] for instance in overview["tool_instances"]]


def test_instance_is_controlled_by_path(answers: dict[str, Any]) -> None:
    assert answers["stopped by path"]["data"]["status_on_toolbox"] == "stopped"
    assert answers["started by path"]["data"]["status_on_toolbox"] in ("running", "starting")
    assert answers["restarted by path, plain"]["status"] in (200, 202)
    assert answers["logs by path"]["data"]["success"] is True
    assert answers["logs by path"]["data"]["logs"]


def test_instance_is_controlled_by_action(answers: dict[str, Any]) -> None:
    for call in ("stopped by action", "deleted by action"):
        assert answers[call]["data"]["success"] is True, answers[call]
    for call in ("started by action", "restarted by action, plain"):
        # The MCP server may take longer to answer than the call waits.
        assert (
            answers[call]["data"]["success"]
            or answers[call]["status"] == 202
            or "under way" in answers[call]["data"]["message"]
        )
    assert list(answers["logs by action"]["data"]) == ["success", "logs", "instanceId", "timestamp"]
    assert answers["logs by action"]["data"]["logs"]
    assert answers["deleted by path"]["status"] == 404


def test_console_shows_and_restarts_the_shim(output: dict[str, Any], answers: dict[str, Any]) -> None:
    console = answers["console"]["data"]
    [listed] = [
        each for each in console["dtma_status"]["tool_instances"] if each["instance_name_on_toolbox"] == output["name"]
    ]
    assert (console["success"], console["dtma_status"]["status"], listed["status"]) == (True, "healthy", "running")
    assert listed["ports"][0]["private_port"] == 3001
    assert answers["shim restarted"] == {"status": 200, "data": {**answers["shim restarted"]["data"], "success": True}}
    assert answers["console, plain"]["data"]["success"] is True


def test_browser_preflights_cover_the_headers_and_methods_of_the_library(output: dict[str, Any]) -> None:
    preflights = " ".join(output["preflights"])
    assert all(name in preflights for name in ("authorization", "apikey", "x-client-info", "content-type"))
    assert any(line.startswith("DELETE ") for line in output["preflights"])
