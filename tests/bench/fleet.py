"""Looks at a whole fleet: the CPU and memory that the functions need for one look at each toolbox, and the time.

    tests/bench/run fleet
    python -m tests.bench.fleet --sizes 1000 5000 20000 --store firestore

Each simulated toolbox has ten containers and a shim at a loopback address of its own, which speaks real TLS and HTTP in
another process. The functions are real, under functions-framework, from the scheduler's and the queue's HTTP requests
on: token verification, sweep, queue, store, signed commands. Then 1 % of the droplets die, half of which refuse
connections and half of which never answer, and the others are to be looked at as before.

CPU time is that of the functions' processes alone. The capacity that is printed follows from it: how many toolboxes
one CPU keeps within a minute.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from functions.adapters.queue_sqlite import SqliteQueue
from functions.lifecycle.dependencies import Task
from shim import identity
from tests.adapters.emulators import free_port
from tests.bench.functions import backends, toolboxes
from tests.bench.functions.served import ROOT, SERVICE_EMAIL, ServedFunction, environment
from tests.fakes.issuer import Issuer

SIZES = (1_000, 5_000)
# How many messages are pushed at once, as by the concurrency of a Cloud Run service.
PUSHES = 8
FRESHNESS_SECONDS = 60
DEAD_PART = 100
# A process has so many listening sockets at most.
SHIMS_PER_PROCESS = 5_000
# No pass is measured for longer; what is missing then is printed.
MAX_PASS_SECONDS = 110


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--store", choices=backends.STORES, default="sqlite")
    options = parser.parse_args(arguments)
    for size in options.sizes:
        measure(size, options.store)


def measure(size: int, store: str) -> None:
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        directory = Path(made)
        used = stack.enter_context(backends.backends(store, directory))
        paths = toolboxes.certificates(directory / "certificates")
        shims = [
            stack.enter_context(Shims(directory / "certificates", range(first, min(first + SHIMS_PER_PROCESS, size))))
            for first in range(0, size, SHIMS_PER_PROCESS)
        ]
        issuer = Issuer()
        stack.callback(issuer.close)
        served = {}
        for target in ("sweep", "converge"):
            settings = environment(target, used.environment, issuer.settings) | {"THREADS": str(PUSHES + 4)}
            served[target] = ServedFunction(target, settings, free_port(), directory / f"{target}.log")
            stack.callback(served[target].end)
            served[target].wait()
        fleet = Fleet(served["sweep"], served["converge"], used.queue, shims, issuer)
        fleet.warm_up()
        toolboxes.store(used.store, range(size), [identity.fingerprint(path) for path in paths], datetime.now(UTC))
        print(f"{size} toolboxes, {toolboxes.CONTAINERS} containers each, {store}", flush=True)
        healthy = fleet.run_pass(range(size))
        print(f"  all alive:  {healthy}", flush=True)
        dead = size // DEAD_PART
        shims[0].kill(range(dead))
        print(f"  {dead} dead:  {fleet.run_pass(range(dead, size))}", flush=True)
        print(f"  converge {served['converge'].mebibytes():.0f} MiB, sweep {served['sweep'].mebibytes():.0f} MiB")


@dataclass(frozen=True)
class Pass:
    """One sweep and all that came of it. CPU in seconds, times since the sweep's request in seconds."""

    looks: int
    expected: int
    sweep_cpu: float
    converge_cpu: float
    last_look: float
    end: float

    def __str__(self) -> str:
        look = (self.sweep_cpu + self.converge_cpu) / max(1, self.looks)
        return (
            f"{self.looks} of {self.expected} looked at, {look * 1000:.2f} ms of CPU each "
            f"(sweep {self.sweep_cpu / max(1, self.looks) * 1000:.2f}), {FRESHNESS_SECONDS / look:.0f} toolboxes per "
            f"vCPU at {FRESHNESS_SECONDS} s; the last after {self.last_look:.1f} s, all done after {self.end:.1f} s"
        )


class Fleet:
    """Sweeps and delivers what the sweep published, as the scheduler and the queue's push subscription do."""

    def __init__(
        self, sweep: ServedFunction, converge: ServedFunction, queue: SqliteQueue, shims: list[Shims], issuer: Issuer
    ) -> None:
        self._sweep, self._converge, self._queue, self._shims = sweep, converge, queue, shims
        token = issuer.token("platform", email=SERVICE_EMAIL, email_verified=True)
        self._headers = {"Authorization": f"Bearer {token}"}

    def warm_up(self) -> None:
        """Have both fetch the issuer's keys and connect to the store, which is still empty: it belongs to no look."""
        requests.post(self._sweep.url, headers=self._headers, timeout=MAX_PASS_SECONDS).raise_for_status()
        self._queue.publish([Task("toolbox", toolboxes.toolbox_id(0))])
        self._deliver(time.monotonic())

    def run_pass(self, living: range) -> Pass:
        """Sweep once, deliver every message; what was looked at of `living`, and at which cost."""
        sweep_cpu, converge_cpu = self._sweep.cpu_seconds(), self._converge.cpu_seconds()
        began = time.monotonic()
        requests.post(self._sweep.url, headers=self._headers, timeout=MAX_PASS_SECONDS).raise_for_status()
        threads = [threading.Thread(target=self._deliver, args=(began,)) for _ in range(PUSHES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = time.monotonic() - began
        times = [at for shims in self._shims for at in shims.looks()]
        looks = [at - began for at in times[living.start : living.stop] if at and at > began]
        return Pass(
            looks=len(looks),
            expected=len(living),
            sweep_cpu=self._sweep.cpu_seconds() - sweep_cpu,
            converge_cpu=self._converge.cpu_seconds() - converge_cpu,
            last_look=max(looks, default=0),
            end=end,
        )

    def _deliver(self, began: float) -> None:
        session = requests.Session()
        session.trust_env = False

        def push(envelope: dict[str, Any]) -> bool:
            if time.monotonic() - began > MAX_PASS_SECONDS:
                # Accepted without being pushed: the measurement ends, and what is missing is counted.
                return True
            answer = session.post(self._converge.url, json=envelope, headers=self._headers, timeout=600)
            return answer.ok

        self._queue.deliver(push, lambda: datetime.now(UTC))


class Shims:
    """The process that simulates the shims of `numbers`."""

    def __init__(self, certificates: Path, numbers: range) -> None:
        words = [
            sys.executable,
            "-m",
            "tests.bench.functions.shims",
            str(certificates),
            str(numbers.start),
            str(numbers.stop),
        ]
        self._process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Shims:
        assert self._answer() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def looks(self) -> list[float | None]:
        """When each toolbox was last looked at, by the monotonic clock."""
        looks: list[float | None] = self._ask("looks")
        return looks

    def kill(self, numbers: range) -> None:
        assert self._ask(f"dead {numbers.start} {numbers.stop}") == "dead"

    def _ask(self, request: str) -> Any:
        assert self._process.stdin
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


if __name__ == "__main__":
    main(sys.argv[1:])
