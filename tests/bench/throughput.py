"""What the functions alone serve: deploys, starts, stops and reads per second and CPU, from 1 caller to 64.

    tests/bench/run throughput
    python -m tests.bench.throughput --store firestore

The requests go straight into the WSGI application of `toolbox-tools`, each caller with an account and a toolbox of its
own. Tokens are verified, the store is real, and the shims are simulated in memory. `per vCPU` is the number of requests
that one second of this process's CPU time serves.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask

from functions.lifecycle.dependencies import Create, Store
from functions.lifecycle.repository import toolbox_ref
from tests.bench.functions import application, backends, toolboxes
from tests.fakes.droplet import IMAGE
from tests.fakes.issuer import Issuer
from tests.fakes.stored import encode

CALLERS = (1, 4, 16, 64)
# Requests of each kind for each number of callers; a caller makes one instance at least.
DEPLOYS, READS = 64, 512


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=backends.STORES, default="sqlite")
    options = parser.parse_args(arguments)
    issuer = Issuer()
    with tempfile.TemporaryDirectory() as directory, backends.backends(options.store, Path(directory)) as used:
        print(f"toolbox-tools, {options.store}")
        for callers in CALLERS:
            measure(used.store, issuer, callers)
    issuer.close()


def measure(store: Store, issuer: Issuer, callers: int) -> None:
    numbers = [next(_NUMBERS) for _ in range(callers)]
    for number in numbers:
        toolbox = toolboxes.toolbox(number, ["0" * 64] * toolboxes.CERTIFICATES, application.now())
        store.commit([Create(toolbox_ref(toolbox.id), encode(toolbox))])
    app = application.toolbox_tools_app(store, issuer, application.Droplets())
    each = max(1, DEPLOYS // callers)
    for verb, make in KINDS.items():
        times = 1 if verb in ("deploy", "start", "stop") else max(1, READS // DEPLOYS)
        environs = []
        for number in numbers:
            token = issuer.token(f"account-{number % 1000}")
            requests = [make(number, index) for index in range(each) for _ in range(times)]
            environs.append([application.request(r.method, r.path, token, r.body) for r in requests])
        print(f"  {callers:2} callers  {verb:6} {run(app, environs, make(0, 0).expected)}", flush=True)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    expected: int
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Load:
    """The CPU time of a run in seconds, and the milliseconds that each request took."""

    cpu: float
    milliseconds: list[float]

    def __str__(self) -> str:
        ordered = sorted(self.milliseconds)
        p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        return (
            f"{len(ordered) / self.cpu:7.0f} per vCPU ({self.cpu / len(ordered) * 1000:6.2f} ms of CPU each)   "
            f"p50 {p50:7.1f} ms  p99 {p99:7.1f} ms  p99/p50 {p99 / p50:.1f}"
        )


def run(app: Flask, environs: list[list[dict[str, Any]]], expected: int) -> Load:
    """Send each caller's requests one after the other, those of all callers at the same time."""
    milliseconds: list[float] = []

    def send(requests: list[dict[str, Any]]) -> None:
        for environ in requests:
            began = time.perf_counter()
            application.call(app, environ, expected)
            milliseconds.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=send, args=(requests,)) for requests in environs]
    cpu = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(time.process_time() - cpu, milliseconds)


def _tools(number: int) -> str:
    return f"/{toolboxes.toolbox_id(number)}/tools"


_NUMBERS = itertools.count(1)
KINDS: dict[str, Callable[[int, int], Request]] = {
    "deploy": lambda number, index: Request(
        "POST",
        _tools(number),
        201,
        {"instanceNameOnToolbox": f"server-{index}", "dockerImage": IMAGE},
    ),
    "stop": lambda number, index: Request("POST", f"{_tools(number)}/server-{index}/stop", 200, {}),
    "start": lambda number, index: Request("POST", f"{_tools(number)}/server-{index}/start", 200, {}),
    "get": lambda number, index: Request("GET", f"{_tools(number)}/server-{index}", 200),
    "list": lambda number, index: Request("GET", _tools(number), 200),
}


if __name__ == "__main__":
    main(sys.argv[1:])
