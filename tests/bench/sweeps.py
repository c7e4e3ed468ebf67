"""An inspection of 100 unchanged containers; the repair after a removal by hand; the number of writes a day.

The inspection runs the code of the functions: one document read and one signed request over TLS. Its peer is one
`GET /containers/json` at the socket of the same engine, timed on the droplet.
"""

from __future__ import annotations

import os
import random
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from functions.adapters.digitalocean import NoDroplets
from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.shim import ShimClients
from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.adapters.toolbox_shim import ToolboxShims
from functions.domain import lease
from functions.lifecycle.dependencies import Dependencies, Store
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from infra.local import deployed, emulators, images, secret, world
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.toolbox import ACCOUNT, droplet_of
from infra.local.world import World
from tests.e2e.conftest import Api, Tools, oldest_toolbox
from tests.fakes.world import DOCUMENTS, VAULT

CONTAINERS = 100
ROUNDS = 25
MINUTES_A_DAY = 24 * 60
INSTANCES = 10
LIST_AT_THE_SOCKET = f"""
import http.client, socket, statistics, time
def once():
    began = time.perf_counter()
    connection.request("GET", "/containers/json?all=1")
    connection.getresponse().read()
    return time.perf_counter() - began
connection = http.client.HTTPConnection("engine")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/var/run/docker.sock")
once()
print(statistics.median(once() for _ in range({ROUNDS})))
"""


def main() -> None:
    local_world = world.current()
    api = Api(local_world.gateway, Issuer(local_world).token(ACCOUNT))
    toolbox = oldest_toolbox(api)
    tools, droplet = Tools(api, toolbox["id"]), droplet_of(local_world, toolbox)
    _inspect(local_world, tools, droplet, toolbox["id"])
    _repair(tools, droplet)
    heartbeats = MINUTES_A_DAY * 60 / toolbox_inspect.HEARTBEAT_EVERY.total_seconds()
    peer = MINUTES_A_DAY * (1 + INSTANCES)
    print(
        f"writes a day, {INSTANCES} unchanged instances: ours {heartbeats:.0f}, "
        f"a heartbeat each minute with one write an instance {peer}: 1/{peer / heartbeats:.0f}"
    )


def _inspect(local_world: World, tools: Tools, droplet: Droplet, toolbox_id: str) -> None:
    names = [f"bench-{uuid.uuid4().hex[:12]}" for _ in range(CONTAINERS)]
    small = {"resourceLimits": {"memory": "16m"}, "start": False}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: tools.deploy(images.MCP.reference, name, **small), names))
    deps = _dependencies(local_world)
    # An instance that was reconciled a moment ago is compared in full once more, so let that pass.
    for _ in range(3):
        time.sleep(lease.GRACE.total_seconds() / 2 + 1)
        toolbox_inspect.inspect(deps, toolbox_id)
    ours = statistics.median(_timed(deps, toolbox_id) for _ in range(ROUNDS))
    peer = float(droplet.run("python3", "-c", LIST_AT_THE_SOCKET))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: tools("DELETE", name), names))
    result = f"ours {ours * 1000:.1f} ms, the engine's list {peer * 1000:.1f} ms, ratio {ours / peer:.2f}"
    print(f"inspection of {CONTAINERS} unchanged containers: {result}")


def _timed(deps: Dependencies, toolbox_id: str) -> float:
    began = time.perf_counter()
    toolbox_inspect.inspect(deps, toolbox_id)
    return time.perf_counter() - began


def _dependencies(local_world: World) -> Dependencies:
    """Wire the dependencies in this process as functions/main.py does."""
    environment = emulators.installed().environment(local_world)
    kind, _, path = environment["STORE"].partition(":")
    os.environ |= {name: value for name, value in environment.items() if name.endswith("_EMULATOR_HOST")}
    store: Store = SqliteStore(path) if kind == "sqlite" else FirestoreStore(world.PROJECT)
    return Dependencies(
        store=store,
        queue=SqliteQueue(str(local_world.directory / "bench-queue.sqlite")),
        shims=ToolboxShims(ShimClients(secret.pem(deployed.command_key(local_world)))),
        droplets=NoDroplets(),
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid.uuid4()),
        pause=time.sleep,
        draw=random.random,
        vault=VAULT,
        documents=DOCUMENTS,
    )


def _repair(tools: Tools, droplet: Droplet) -> None:
    """Time from `docker rm -f` on the droplet until the instance has a container again; sweeps run each minute."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    tools.deploy(images.MCP.reference, name)
    record = tools.wait_for(name, "running")
    times = []
    for _ in range(3):
        began = time.monotonic()
        droplet.run("docker", "rm", "-f", record["container_name"])
        while not droplet.run("docker", "ps", "-q", "--filter", f"name={record['container_name']}"):
            assert time.monotonic() - began < 180, "not repaired"
            time.sleep(0.5)
        times.append(time.monotonic() - began)
    tools("DELETE", name)
    print(f"removed by hand, back after {statistics.median(times):.0f} s (sweeps come every 60 s)")
