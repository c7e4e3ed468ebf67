"""The shim beside a peer that does the same with Node, express and dockerode, and beside the engine's socket itself.

    tests/bench/run shim
    python -m tests.bench.shim.measure REQUESTS    # fewer than the 100,000 after which memory is read

Needs wrk (Debian's package of that name). Makes its containers, removes them, and prints one line for each figure.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
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
from tests.bench.shim.served import Load, Served, load_socket
from tests.bench.shim.volumes import measure_volumes
from tests.shim import process
from tests.shim.caller import TlsCaller
from tests.shim.droplet import Droplet, busybox_image, free_port

HERE = Path(__file__).parent
CONTAINERS = 100
REQUESTS = 100_000


def main(requests: int = REQUESTS) -> None:
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory)) as (shim, node, droplet):
        print(f"load average {os.getloadavg()[0]:.1f}; {os.cpu_count()} CPUs", flush=True)
        idle = [server.mebibytes() for server in (shim, node)]
        images = busybox_image(droplet.url)
        image = next(images)
        names = [droplet.make(image, "sleep", "600", start=False).name for _ in range(CONTAINERS)]
        measure_inspect(shim, node, droplet, names[0])
        measure_status(shim, node, droplet)
        measure_memory(shim, node, f"/tools/{names[0]}", idle, requests)
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
    # The shim's image sets the same.
    os.environ["MALLOC_ARENA_MAX"] = "2"
    url = f"unix://{engine.SOCKET}"
    agent = [
        str(BIN / "node"),
        str(peer / "agent.js"),
        str(callers[1].port),
        str(pem),
        str(engine.SOCKET),
        audience,
        str(directory / "key.pem"),
        toolbox,
    ]
    served: list[Served] = []
    try:
        served.append(Served("shim", process.command(directory, url, callers[0].port), callers[0]))
        served.append(Served("node", agent, callers[1]))
        yield served[0], served[1], Droplet(callers[0], url, toolbox)
    finally:
        for server in served:
            server.end()


def measure_inspect(shim: Served, node: Served, droplet: Droplet, name: str) -> None:
    target = f"/v{droplet.docker.api_version}/containers/{name}/json"
    for connections in (1, 16):
        what = f"inspect, {connections} connection" + "s" * (connections > 1)
        bare = load_socket(str(engine.SOCKET), target, connections)
        shim_load, node_load = (server.load(f"/tools/{name}", connections) for server in (shim, node))
        report(what, bare, shim_load, node_load)
        print(
            f"{what}: p50 {shim_load.p50 - bare.p50:+.2f} ms to the socket's, "
            f"throughput {shim_load.rate / node_load.rate:.2f} of node's",
            flush=True,
        )


def measure_status(shim: Served, node: Served, droplet: Droplet) -> None:
    filters = f"%7B%22label%22:%5B%22{contract_names.LABEL_TOOLBOX}={droplet.toolbox_id}%22%5D%7D"
    target = f"/v{droplet.docker.api_version}/containers/json?all=1&filters={filters}"
    bare = load_socket(str(engine.SOCKET), target, 1)
    shim_load, node_load = (server.load("/status", 1) for server in (shim, node))
    report(f"status of {CONTAINERS}", bare, shim_load, node_load)
    shim_ratio, node_ratio = shim_load.p50 / bare.p50, node_load.p50 / bare.p50
    print(f"status of {CONTAINERS}: {shim_ratio:.2f} of the socket's list, node {node_ratio:.2f}", flush=True)


def measure_memory(shim: Served, node: Served, target: str, idle: list[float], requests: int) -> None:
    for server in (shim, node):
        count = 0
        while count < requests:
            count += server.load(target, 16).count
    after = [server.mebibytes() for server in (shim, node)]
    for when, (ours, theirs) in (("idle", idle), (f"after {requests} requests and more", after)):
        print(f"memory {when}: shim {ours:.1f} MiB, node {theirs:.1f}; {ours / theirs:.2f} of node's", flush=True)
    print(f"memory of the shim: {after[0] / idle[0]:.2f} of idle", flush=True)


def report(what: str, *loads: Load) -> None:
    for name, load in zip(("socket", "shim", "node"), loads, strict=True):
        print(f"{what}, {name:7} {load}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
