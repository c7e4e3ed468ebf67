"""The existing frontend's calls, unmodified: by the library that it uses, in Node, under a browser's rules."""

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
TOGETHER_SECONDS = 240


@pytest.fixture(scope="module")
def folder() -> Path:
    """The script beside its packages, outside of the checkout."""
    place = STATE / "build/frontend"
    before = place / "package.json"
    current = before.exists() and before.read_text() == (SOURCE / "package.json").read_text()
    if not current:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        install = [str(BIN / "npm"), "install", "--omit=dev", "--no-package-lock", "--prefix", str(place)]
        shutil.copy2(SOURCE / "package.json", place / "package.json")
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    for script in SOURCE.glob("*.mjs"):
        shutil.copy2(script, place / script.name)
    return place


@pytest.fixture(scope="module")
def told(folder: Path, local_world: World, api: Api, toolbox: dict[str, Any], image: str) -> Iterator[dict[str, Any]]:
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
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TOGETHER_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)
    finally:
        # Gone already, unless the script has not come so far.
        for left in api("GET", "/toolboxes-user").json():
            if left["name"] == name:
                api("DELETE", f"/toolboxes-user/{left['id']}")


@pytest.fixture
def said(told: dict[str, Any]) -> dict[str, Any]:
    return dict(told["said"])


def test_toolboxes_are_listed_shown_and_refreshed(said: dict[str, Any], toolbox: dict[str, Any]) -> None:
    assert toolbox["id"] in [record["id"] for record in said["toolboxes"]["data"]]
    assert [record["id"] for record in said["toolboxes, plain"]["data"]] == [
        record["id"] for record in said["toolboxes"]["data"]
    ]
    assert (said["toolbox"]["data"]["id"], said["refreshed"]["data"]["status"]) == (toolbox["id"], "active")
    assert said["refreshed"]["data"]["dtma_health_details_json"]["system_metrics"]["memory"]["total_bytes"] > 0


def test_a_toolbox_is_provisioned_comes_to_serve_and_is_gone_once_deprovisioned(
    said: dict[str, Any], cloud: Account
) -> None:
    asked, active = said["provisioned"]["data"], said["active"]["data"]
    assert (asked["id"], asked["status"]) == (active["id"], "pending_provision")
    assert (active["region_slug"], active["size_slug"]) == ("fra1", "s-2vcpu-4gb")
    assert active["public_ip_address"] and active["do_droplet_id"]
    assert active["id"] in [record["id"] for record in said["toolboxes with it"]["data"]]
    assert said["deprovisioned"]["data"]["status"] in ("pending_deprovision", "deprovisioning", "deprovisioned")
    assert said["toolbox that is gone"]["data"]["status"] == "deprovisioned"
    assert active["do_droplet_id"] not in [str(droplet["id"]) for droplet in cloud.droplets()]


def test_an_error_is_one_whose_message_the_frontend_can_read(said: dict[str, Any]) -> None:
    for call in ("nobody's", "an action on nothing"):
        problem = said[call]["data"]
        assert (said[call]["status"], problem["message"]) == (404, problem["detail"])


def test_regions_and_sizes_are_bare_arrays(said: dict[str, Any]) -> None:
    assert said["regions"]["data"] == said["regions, plain"]["data"]
    assert said["regions"]["data"][0]["slug"] and said["sizes"]["data"][0]["slug"]


def test_a_deploy_with_nested_fields_comes_to_run(told: dict[str, Any], said: dict[str, Any]) -> None:
    record = said["running"]["data"]
    assert (record["status_on_toolbox"], record["instance_name_on_toolbox"]) == ("running", told["name"])
    assert (record["tool_catalog_id"], record["mcp_transport_type"], record["mcp_endpoint_path"]) == (
        "catalogue-1", "streamable-http", "/mcp"
    )  # fmt: skip
    assert record["ports"][0]["host_port"] in range(20_000, 30_000)
    assert record["mcp"]["tools_count"] > 0
    assert record["id"] in [one["id"] for one in said["instances"]["data"]]
    assert said["instance by id"]["data"]["id"] == said["instance by name, plain"]["data"]["id"] == record["id"]
    overview = said["overview"]["data"]
    assert (overview["success"], overview["dtma_connected"]) == (True, True)
    assert record["id"] in [one["id"] for one in overview["tool_instances"]]


def test_an_instance_is_worked_by_path(said: dict[str, Any]) -> None:
    assert said["stopped by path"]["data"]["status_on_toolbox"] == "stopped"
    assert said["started by path"]["data"]["status_on_toolbox"] in ("running", "starting")
    assert said["restarted by path, plain"]["status"] in (200, 202)
    assert said["logs by path"]["data"]["success"] is True
    assert said["logs by path"]["data"]["logs"]


def test_an_instance_is_worked_by_action(said: dict[str, Any]) -> None:
    for call in ("stopped by action", "deleted by action"):
        assert said[call]["data"]["success"] is True, said[call]
    for call in ("started by action", "restarted by action, plain"):
        # Its server may take longer to answer than the call waits.
        assert (
            said[call]["data"]["success"] or said[call]["status"] == 202 or "under way" in said[call]["data"]["message"]
        )
    assert list(said["logs by action"]["data"]) == ["success", "logs", "instanceId", "timestamp"]
    assert said["logs by action"]["data"]["logs"]
    assert said["deleted by path"]["status"] == 404


def test_the_console_shows_the_shim_and_restarts_it(told: dict[str, Any], said: dict[str, Any]) -> None:
    shown = said["console"]["data"]
    [listed] = [
        one for one in shown["dtma_status"]["tool_instances"] if one["instance_name_on_toolbox"] == told["name"]
    ]
    assert (shown["success"], shown["dtma_status"]["status"], listed["status"]) == (True, "healthy", "running")
    assert listed["ports"][0]["private_port"] == 3001
    assert said["shim restarted"] == {"status": 200, "data": {**said["shim restarted"]["data"], "success": True}}
    assert said["console, plain"]["data"]["success"] is True


def test_a_browser_asks_beforehand_for_what_the_library_sends(told: dict[str, Any]) -> None:
    asked = " ".join(told["preflights"])
    assert all(name in asked for name in ("authorization", "apikey", "x-client-info", "content-type"))
    assert any(line.startswith("DELETE ") for line in told["preflights"])
