"""What the backend says of an account, made so on its real droplet."""

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


def tell(local_world: World, kind: str) -> int:
    """The backend's word, signed with this world's secret; how it was answered."""
    now = datetime.now(UTC)
    body = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": {"account": ACCOUNT}})
    id, secret = f"msg_{uuid.uuid4().hex}", (local_world.directory / "webhook-secret").read_text()
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(id, now, body),
    }
    return Api(local_world.gateway, None)("POST", "/webhooks/backend", data=body, headers=headers).status_code


def test_a_suspended_accounts_containers_stop_and_run_again_when_it_is_resumed(
    local_world: World, tools: Tools, image: str, name: str, droplet: Droplet
) -> None:
    tools.deploy(image, name, portMappings=[{"containerPort": 3001}])
    container = tools.wait_for(name, "running")["container_name"]
    try:
        assert tell(local_world, "account.suspended") == 204
        held = tools.wait_for(name, "stopped")
        assert (held["desired_state"], held["status_reason"]["code"]) == ("running", "account-suspended")
        assert container not in droplet.run("docker", "ps", "--format", "{{.Names}}")
        assert tools("POST", name, "/start").status_code == 403
    finally:
        assert tell(local_world, "account.resumed") == 204
    assert tools.wait_for(name, "running")["status_reason"] is None
    assert container in droplet.run("docker", "ps", "--format", "{{.Names}}")


def test_what_the_backend_did_not_sign_is_a_401(local_world: World) -> None:
    headers = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    assert Api(local_world.gateway, None)("POST", "/webhooks/backend", data="{}", headers=headers).status_code == 401
