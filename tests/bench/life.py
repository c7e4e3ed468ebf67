"""Deploy, start and stop through the functions, beside `docker run -d`, `docker start`, `docker stop` at one engine.

Ours is measured from the HTTP request at the gateway to its answer, which proves the state by inspect. The peer is the
docker command itself, timed on the droplet. The two take turns, so that both are measured under the same load.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable

from infra.local import images, world
from infra.local.droplet import Droplet
from infra.local.issuer import Issuer
from infra.local.toolbox import ACCOUNT, droplet_of
from tests.e2e.conftest import Api, Tools, oldest_toolbox

ROUNDS = 20
# The limits and the init that the shim sets, so that both make the same container.
LIKE_OURS = "--init --memory 512m --memory-swap 512m --cpus 0.5 --pids-limit 256 --security-opt no-new-privileges"


def main() -> None:
    local_world = world.current()
    api = Api(local_world.gateway, Issuer(local_world).token(ACCOUNT))
    toolbox = oldest_toolbox(api)
    tools, droplet = Tools(api, toolbox["id"]), droplet_of(local_world, toolbox)
    image = images.MCP.reference
    tools.deploy(image, "warm-up")
    tools.wait_for("warm-up", "running")
    ours: dict[str, list[float]] = {"deploy": [], "start": [], "stop": []}
    peer: dict[str, list[float]] = {"deploy": [], "start": [], "stop": []}
    for _ in range(ROUNDS):
        _ours(tools, image, ours)
        _peer(droplet, image, peer)
    tools("DELETE", "warm-up")
    for verb in ours:
        own, docker = statistics.median(ours[verb]), statistics.median(peer[verb])
        print(f"{verb:7} ours {own * 1000:6.0f} ms   docker {docker * 1000:6.0f} ms   ratio {own / docker:.2f}")


def _ours(tools: Tools, image: str, times: dict[str, list[float]]) -> None:
    name = f"bench-{uuid.uuid4().hex[:12]}"
    times["deploy"].append(_timed(lambda: tools.deploy(image, name).json()["status_on_toolbox"], "running"))
    times["stop"].append(_timed(lambda: tools("POST", name, "/stop").json()["status_on_toolbox"], "stopped"))
    times["start"].append(_timed(lambda: tools("POST", name, "/start").json()["status_on_toolbox"], "running"))
    tools("DELETE", name)


def _timed(act: Callable[[], str], expected: str) -> float:
    began = time.monotonic()
    status = act()
    seconds = time.monotonic() - began
    assert status == expected, status
    return seconds


def _peer(droplet: Droplet, image: str, times: dict[str, list[float]]) -> None:
    """Time the docker commands in one script on the droplet, so that nothing else is measured."""
    script = f"""
        t0=$(date +%s%N); id=$(docker run -d {LIKE_OURS} {image}); t1=$(date +%s%N)
        docker stop "$id" >/dev/null; t2=$(date +%s%N)
        docker start "$id" >/dev/null; t3=$(date +%s%N)
        docker rm -f "$id" >/dev/null; echo $((t1-t0)) $((t2-t1)) $((t3-t2))"""
    deploy, stop, start = (int(word) / 1e9 for word in droplet.run("sh", "-c", script).split())
    times["deploy"].append(deploy)
    times["stop"].append(stop)
    times["start"].append(start)
