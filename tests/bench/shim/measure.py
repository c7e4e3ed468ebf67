"""The shim beside a peer that does the same with Node, express and dockerode, and beside the engine's socket itself.

    tests/bench/run shim
    python -m tests.bench.shim.measure REQUESTS    # fewer than the 100,000 that each otherwise gets

Makes its containers, removes them, prints one line for each figure. Memory is proportional: what a process shares with
others counts in part.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.local import command, engine, world
from infra.local.processes import BIN
from shim import identity
from shim.contract import names as contract_names
from shim.contract import tokens
from tests.bench.shim.served import Load, Served, load
from tests.bench.shim.volumes import measure_volumes
from tests.shim import process
from tests.shim.caller import TlsCaller
from tests.shim.droplet import Droplet, busybox_image, free_port

HERE = Path(__file__).parent
CONTAINERS = 100
REQUESTS = 100_000
WARM_UP = 1_600
# How long the shim remembers a token.
FORGOTTEN_SECONDS = 65


class EngineConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(engine.SOCKET))


def main(requests: int = REQUESTS) -> None:
    with tempfile.TemporaryDirectory() as made, serving(Path(made)) as (shim, node, droplet):
        print(f"load average {os.getloadavg()[0]:.1f}; {os.cpu_count()} CPUs")
        idle = [one.mebibytes() for one in (shim, node)]
        images = busybox_image(droplet.url)
        image = next(images)
        names = [droplet.make(image, "sleep", "600", start=False).name for _ in range(CONTAINERS)]
        for one in (shim, node):
            one.load(f"/tools/{names[0]}", 16, WARM_UP)
        warm = [one.mebibytes() for one in (shim, node)]
        measure_inspect(shim, node, droplet, names[0], requests)
        measure_memory(shim, node, idle, warm, requests)
        measure_status(shim, node, droplet)
        measure_volumes(shim, droplet, image)
        droplet.clean()
        next(images, None)


@contextmanager
def serving(directory: Path) -> Iterator[tuple[Served, Served, Droplet]]:
    toolbox, key = str(uuid.uuid4()), Ed25519PrivateKey.generate()
    pem, public = identity.ensure_certificate(directory, toolbox), key.public_key()
    process.configure(directory, toolbox, public)
    (directory / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    audience = tokens.audience(toolbox, identity.fingerprint(pem))
    callers = [TlsCaller(key, audience, free_port()) for _ in range(2)]
    peer = world.STATE / "bench-peer"
    shutil.copytree(HERE / "peer", peer, dirs_exist_ok=True)
    command.run([BIN / "npm", "install", "--omit=dev", "--no-package-lock", "--prefix", peer])
    # As the shim's image sets it.
    os.environ["MALLOC_ARENA_MAX"] = "2"
    url = f"unix://{engine.SOCKET}"
    agent = [str(BIN / "node"), str(peer / "agent.js"), str(callers[1].port), str(pem), str(engine.SOCKET), audience,
             str(directory / "key.pem"), toolbox]  # fmt: skip
    served: list[Served] = []
    try:
        served.append(Served("shim", process.command(directory, url, callers[0].port), callers[0]))
        served.append(Served("node", agent, callers[1]))
        yield served[0], served[1], Droplet(callers[0], url, toolbox)
    finally:
        for one in served:
            one.end()


def measure_inspect(shim: Served, node: Served, droplet: Droplet, name: str, requests: int) -> None:
    straight = f"/v{droplet.docker.api_version}/containers/{name}/json"
    for connections, count in ((1, requests // 20), (16, requests)):
        what = f"inspect, {connections} connection" + "s" * (connections > 1)
        socket_s = load(lambda: EngineConnection("engine"), straight, connections, WARM_UP)
        shim_s, node_s = (one.load(f"/tools/{name}", connections, count) for one in (shim, node))
        told(what, socket_s, shim_s, node_s)
        print(f"{what}: p50 {shim_s.p50 - socket_s.p50:+.2f} ms to the socket's, "
              f"throughput {shim_s.rate / node_s.rate:.2f} of node's", flush=True)  # fmt: skip


def measure_status(shim: Served, node: Served, droplet: Droplet) -> None:
    filters = f"%7B%22label%22:%5B%22{contract_names.LABEL_TOOLBOX}={droplet.toolbox_id}%22%5D%7D"
    straight = f"/v{droplet.docker.api_version}/containers/json?all=1&filters={filters}"
    socket_s = load(lambda: EngineConnection("engine"), straight, 1, 300)
    shim_s, node_s = (one.load("/status", 1, 300) for one in (shim, node))
    told(f"status of {CONTAINERS}", socket_s, shim_s, node_s)
    print(f"status of {CONTAINERS}: {shim_s.p50 / socket_s.p50:.2f} of the socket's list", flush=True)


def measure_memory(shim: Served, node: Served, idle: list[float], warm: list[float], requests: int) -> None:
    after = [one.mebibytes() for one in (shim, node)]
    time.sleep(FORGOTTEN_SECONDS)
    # Whoever comes next sees to it that used tokens are forgotten.
    shim.load("/status", 1, 1)
    later = shim.mebibytes()
    for when, (ours, theirs) in (
        ("idle", idle),
        (f"after {WARM_UP} requests", warm),
        (f"after {requests} more", after),
    ):
        print(f"memory {when}: shim {ours:.1f} MiB, node {theirs:.1f}; {ours / theirs:.2f} of node's")
    print(f"memory a minute later: shim {later:.1f} MiB; {later / warm[0]:.2f} of what it was warm, "
          f"{later / idle[0]:.2f} of idle", flush=True)  # fmt: skip


def told(what: str, *loads: Load) -> None:
    for name, one in zip(("socket", "shim", "node"), loads, strict=True):
        print(f"{what}, {name:7} {one}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
