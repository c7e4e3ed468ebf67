"""Account webhooks from the backend take effect on a real droplet."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from infra.local.droplet import Droplet
from infra.local.toolbox import ACCOUNT
from infra.local.world import World
from tests.e2e.conftest import Api, Tools

pytestmark = pytest.mark.world


def send_webhook(local_world: World, event_type: str) -> int:
    """Send a webhook that is signed with this world's secret; return the status code of the answer."""
    now = datetime.now(UTC)
    body = json.dumps({"type": event_type, "timestamp": now.isoformat(), "data": {"account": ACCOUNT}})
    message_id, secret = f"msg_{uuid.uuid4().hex}", (local_world.directory / "webhook-secret").read_text()
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, now, body),
    }
    return Api(local_world.gateway, None)("POST", "/webhooks/backend", data=body, headers=headers).status_code


def test_suspension_stops_containers_and_resumption_starts_them(
    local_world: World, tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    tools.deploy(image, name, portMappings=[{"containerPort": 3001}])
    container = tools.wait_for(name, "running")["container_name"]
    try:
        assert send_webhook(local_world, "account.suspended") == 204
        suspended = tools.wait_for(name, "stopped")
        assert (suspended["desired_state"], suspended["status_reason"]["code"]) == ("running", "account-suspended")
        assert container not in droplet.run("docker", "ps", "--format", "{{.Names}}")
        assert tools("POST", name, "/start").status_code == 403
    finally:
        assert send_webhook(local_world, "account.resumed") == 204
    assert tools.wait_for(name, "running")["status_reason"] is None
    assert container in droplet.run("docker", "ps", "--format", "{{.Names}}")


def test_webhook_without_a_valid_signature_returns_401(local_world: World) -> None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert Api(local_world.gateway, None)("POST", "/webhooks/backend", data="{}", headers=headers).status_code == 401
