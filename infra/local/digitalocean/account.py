"""The local DigitalOcean as its account's owner calls it: what the functions do not do, such as pulling a plug."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import requests

from infra.local import secret
from infra.local.steps import wait_until
from infra.local.world import World

ACT_SECONDS = 120


class Account:
    """One world's. Raises requests.RequestException where the API refuses or does not answer."""

    def __init__(self, of: World) -> None:
        self.url = f"http://127.0.0.1:{of.digitalocean_port}"
        self.token = secret.text(of.directory / "digitalocean-token", lambda: f"dop_v1_{token_hex(32)}")

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.request(method, self.url + path, headers=headers, timeout=60, **options)
        answer.raise_for_status()
        return answer

    def droplets(self) -> list[dict[str, Any]]:
        """All of them, as the API tells of them."""
        found: list[dict[str, Any]] = self("GET", "/v2/droplets?per_page=200").json()["droplets"]
        return found

    def act(self, droplet_id: int, kind: str) -> None:
        """Has an action done (`reboot`, `power_off`, …) and waits for its end."""
        path = f"/v2/droplets/{droplet_id}/actions"
        begun = self("POST", path, json={"type": kind}).json()["action"]["id"]

        def ended() -> bool:
            actions = self("GET", path).json()["actions"]
            return any(one["id"] == begun and one["status"] != "in-progress" for one in actions)

        wait_until(ended, ACT_SECONDS, f"the end of {kind}")

    def weather(self, *faults: dict[str, Any], tags_late_seconds: float = 0) -> None:
        """How the API fails from now on: weather.Fault's fields; fine weather where nothing is given."""
        self("PUT", "/admin/weather", json={"faults": list(faults), "tags_late_seconds": tags_late_seconds})

    def calls(self) -> dict[str, int]:
        """How often each of the API's routes was called since its start."""
        counted: dict[str, int] = self("GET", "/admin/calls").json()
        return counted
