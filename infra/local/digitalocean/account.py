"""A client for the owner of the account at the local DigitalOcean: power actions, injected faults, call counts.

The functions have a client of their own (functions/adapters/digitalocean.py). This one does what they never do.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import requests

from infra.local import secret
from infra.local.steps import wait_until
from infra.local.world import World

ACTION_SECONDS = 120


class Account:
    """One world's account. Calls raise requests.RequestException if the API answers with an error or not at all."""

    def __init__(self, world: World) -> None:
        self.url = f"http://127.0.0.1:{world.digitalocean_port}"
        self.token = secret.text(world.directory / "digitalocean-token", lambda: f"dop_v1_{token_hex(32)}")

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request. `options` are those of requests.request."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=60, **options)
        answer.raise_for_status()
        return answer

    def droplets(self) -> list[dict[str, Any]]:
        """Every droplet, in the API's own form."""
        droplets: list[dict[str, Any]] = self("GET", "/v2/droplets?per_page=200").json()["droplets"]
        return droplets

    def act(self, droplet_id: int, kind: str) -> None:
        """Run a droplet action (`reboot`, `power_off`, …) and wait for its end, for at most ACTION_SECONDS."""
        path = f"/v2/droplets/{droplet_id}/actions"
        action_id = self("POST", path, json={"type": kind}).json()["action"]["id"]

        def ended() -> bool:
            actions = self("GET", path).json()["actions"]
            return any(action["id"] == action_id and action["status"] != "in-progress" for action in actions)

        wait_until(ended, ACTION_SECONDS, f"the end of {kind}")

    def inject(self, *faults: dict[str, Any], tags_late_seconds: float = 0) -> None:
        """Replace all injected faults; without arguments the API works normally again.

        `faults`: the fields of errors.Fault. `tags_late_seconds`: how long a new droplet lacks its tags.
        """
        self("PUT", "/admin/faults", json={"faults": list(faults), "tags_late_seconds": tags_late_seconds})

    def calls(self) -> dict[str, int]:
        """The number of calls of each route since the service started, by method and route."""
        calls: dict[str, int] = self("GET", "/admin/calls").json()
        return calls
