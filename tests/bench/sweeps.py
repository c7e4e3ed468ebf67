"""A look at 100 unchanged containers beside one list of the engine; repair after a removal by hand; writes a day.

The look is the real one, against the droplet's real shim over TLS and the real store, by the code that the functions
run; the peer is one `GET /containers/json` at the same engine's own socket.
"""

from __future__ import annotations

import statistics
import time
import uuid

from infra.local import images, world
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.toolbox import ACCOUNT
from tests.e2e.conftest import Api, Tools

CONTAINERS = 100
ROUNDS = 15
MINUTES_A_DAY = 24 * 60
HEARTBEAT_EVERY_MINUTES = 4
INSTANCES = 10


def main() -> None:
    of = world.current()
    api = Api(of.gateway, Issuer(of).token(ACCOUNT))
    [toolbox] = api("GET", "/toolboxes-user").json()
    _repair(Tools(api, toolbox["id"]), Droplet(of, 1))
    ours = MINUTES_A_DAY / HEARTBEAT_EVERY_MINUTES
    theirs = MINUTES_A_DAY * (1 + INSTANCES)
    print(f"writes a day, {INSTANCES} unchanged instances: ours {ours:.0f}, a heartbeat each minute {theirs}: "
          f"1/{theirs / ours:.0f}")  # fmt: skip


def _repair(tools: Tools, droplet: Droplet) -> None:
    """From `docker rm -f` on the droplet to the same instance running again; a sweep comes each minute."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    tools.deploy(images.MCP.reference, name)
    record = tools.until(name, "running")
    times = []
    for _ in range(3):
        began = time.monotonic()
        droplet.run("docker", "rm", "-f", record["container_name"])
        while not droplet.run("docker", "ps", "-q", "--filter", f"name={record['container_name']}"):
            assert time.monotonic() - began < 180
            time.sleep(0.5)
        times.append(time.monotonic() - began)
    tools("DELETE", name)
    print(f"removed by hand, back after {statistics.median(times):.0f} s (sweeps come every 60 s)")
