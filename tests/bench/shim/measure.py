"""The shim beside a peer that does the same with Node, express and dockerode, and beside the engine's socket itself.

    python -m tests.bench.shim.measure SOCKET PEER [REQUESTS]

SOCKET is a Docker Engine's, PEER a folder with agent.js's packages installed, REQUESTS how many each gets (default
20,000; the issue's own load is 100,000). Makes its containers, removes them, prints one line for each figure.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shim import certificate, protocol, signing
from tests.shim.caller import TlsCaller
from tests.shim.droplet import Droplet, busybox_image, free_port

HERE = Path(__file__).parent
CONTAINERS = 100
Connect = Callable[[], http.client.HTTPConnection]
Send = Callable[[http.client.HTTPConnection], None]


class EngineConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class Served:
    """A process under measure, with its caller."""

    def __init__(self, name: str, command: list[str], caller: TlsCaller) -> None:
        self.name, self.caller = name, caller
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=HERE.parents[2])
        for _ in range(100):
            try:
                caller.send("GET", "/health", {}, b"")
                return
            except OSError:
                time.sleep(0.1)
        self.process.kill()
        raise AssertionError(f"{name} does not answer")

    def mebibytes(self) -> float:
        """Proportional set size."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def get(self, target: str) -> Send:
        def send(connection: http.client.HTTPConnection) -> None:
            connection.request("GET", target, headers={"Authorization": "Bearer " + self.caller.token("GET", target)})
            answered(connection)

        return send


def answered(connection: http.client.HTTPConnection) -> None:
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body


def timed(connect: Connect, send: Send, connections: int, requests: int) -> list[float]:
    """Milliseconds of each request, over so many connections at once, all kept."""
    taken: list[float] = []

    def one() -> None:
        connection = connect()
        for _ in range(requests // connections):
            began = time.perf_counter()
            send(connection)
            taken.append((time.perf_counter() - began) * 1000)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def told(what: str, taken: list[float], began: float) -> None:
    ordered = sorted(taken)
    p99 = ordered[int(len(ordered) * 0.99)]
    rate = len(taken) / (time.perf_counter() - began)
    print(f"{what:46} p50 {statistics.median(ordered):7.2f} ms  p99 {p99:7.2f} ms  {rate:7.0f}/s", flush=True)


def shim_command(directory: Path, engine: str, port: int) -> list[str]:
    """The shim's own process but for where it finds its engine and where it listens."""
    lines = (
        "import json, pathlib; from shim import configuration, __main__ as m; from shim.server import ShimServer",
        f"pem = pathlib.Path({str(directory / certificate.FILE)!r})",
        f"given = json.loads(pathlib.Path({str(directory / 'shim.json')!r}).read_text())",
        "c = configuration.Configuration(given['toolbox_id'], configuration.keys(given['control_keys']))",
        f"ShimServer(m.assemble(c, pem, {engine!r}).app, pem, ('127.0.0.1', {port})).safe_start()",
    )
    return [sys.executable, "-c", "; ".join(lines)]


def measure(engine: str, peer: Path, requests: int, directory: Path) -> None:
    toolbox, key = str(uuid.uuid4()), Ed25519PrivateKey.generate()
    pem, public = certificate.ensure(directory, toolbox), key.public_key()
    encoded = base64.urlsafe_b64encode(public.public_bytes_raw()).decode()
    configuration = {"toolbox_id": toolbox, "control_keys": {signing.kid(public): encoded}}
    (directory / "shim.json").write_text(json.dumps(configuration))
    (directory / "key.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    audience = signing.audience(toolbox, certificate.fingerprint(pem))
    ports = free_port(), free_port()
    callers = [TlsCaller(key, audience, port) for port in ports]
    os.environ["NODE_PATH"] = str(peer / "node_modules")
    agent = ["node", str(HERE / "peer/agent.js"), str(ports[1]), str(pem), engine.removeprefix("unix://"), audience,
             str(directory / "key.pem"), toolbox]  # fmt: skip
    droplet = Droplet(callers[0], engine, toolbox)
    images, served = busybox_image(engine), list[Served]()
    try:
        served.append(Served("shim", shim_command(directory, engine, ports[0]), callers[0]))
        served.append(Served("node", agent, callers[1]))
        image = next(images)
        names = [droplet.make(image, "sleep", "600", start=False).name for _ in range(CONTAINERS)]
        compare(served, droplet, engine.removeprefix("unix://"), names[0], requests)
    finally:
        for one in served:
            one.process.kill()
        droplet.clean()
        next(images, None)


def compare(served: list[Served], droplet: Droplet, path: str, name: str, requests: int) -> None:
    version = droplet.docker.api_version
    filters = f'{{"label":["{protocol.LABEL_TOOLBOX}={droplet.toolbox_id}"]}}'.replace('"', "%22")

    def direct() -> http.client.HTTPConnection:
        return EngineConnection(path)

    def straight(target: str) -> Send:
        def send(connection: http.client.HTTPConnection) -> None:
            connection.request("GET", f"/v{version}{target}")
            answered(connection)

        return send

    for one in served:
        print(f"{one.name + ', memory idle':46} {one.mebibytes():.1f} MiB", flush=True)
    for connections in (1, 16):
        began = time.perf_counter()
        inspect = straight(f"/containers/{name}/json")
        told(f"socket, inspect, {connections} connections", timed(direct, inspect, connections, 1600), began)
        for one in served:
            began = time.perf_counter()
            told(f"{one.name}, inspect, {connections} connections", timed(
                one.caller.connect, one.get(f"/tools/{name}"), connections, requests // 2), began)  # fmt: skip
    began = time.perf_counter()
    listing = straight(f"/containers/json?all=1&filters={filters}")
    told(f"socket, list of {CONTAINERS}", timed(direct, listing, 1, 100), began)
    for one in served:
        began = time.perf_counter()
        told(f"{one.name}, status of {CONTAINERS}", timed(one.caller.connect, one.get("/status"), 1, 100), began)
    for one in served:
        print(f"{one.name + f', memory after {requests} requests':46} {one.mebibytes():.1f} MiB", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 20_000, Path(made))
