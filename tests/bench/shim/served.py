"""A process under measure: its memory, and requests to it over kept connections, timed."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.shim.caller import TlsCaller

ROOT = Path(__file__).resolve().parents[3]
Connect = Callable[[], http.client.HTTPConnection]
Headers = Callable[[], dict[str, str]]


@dataclass(frozen=True)
class Load:
    """What a run of requests took: milliseconds, and requests a second."""

    p50: float
    p99: float
    rate: float

    def __str__(self) -> str:
        return f"p50 {self.p50:7.2f} ms  p99 {self.p99:7.2f} ms  {self.rate:6.0f}/s"


class Served:
    def __init__(self, name: str, command: list[str], caller: TlsCaller) -> None:
        """`caller` knows its port. What it prints is not kept."""
        self.name, self.caller = name, caller
        self._started = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
        for _ in range(200):
            try:
                caller.send("GET", "/health", {}, b"")
            except OSError:
                time.sleep(0.1)
            else:
                # A command may be a wrapper, whose child it is that serves.
                children = Path(f"/proc/{self._started.pid}/task/{self._started.pid}/children").read_text().split()
                self.pid = int(children[0]) if children else self._started.pid
                return
        self.end()
        raise AssertionError(f"{name} does not answer")

    def mebibytes(self) -> float:
        """Proportional set size."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def load(self, target: str, connections: int, requests: int) -> Load:
        def signed() -> dict[str, str]:
            return {"Authorization": "Bearer " + self.caller.token("GET", target)}

        return load(self.caller.connect, target, connections, requests, signed)

    def end(self) -> None:
        self._started.terminate()
        self._started.wait()


def load(connect: Connect, target: str, connections: int, requests: int, headers: Headers = dict) -> Load:
    """So many requests over so many connections at once, all kept. What makes their headers is not timed."""
    taken: list[float] = []

    def one() -> None:
        connection = connect()
        for _ in range(requests // connections):
            sent = headers()
            began = time.perf_counter()
            connection.request("GET", target, headers=sent)
            answer = connection.getresponse()
            body = answer.read()
            taken.append((time.perf_counter() - began) * 1000)
            assert answer.status == 200, body
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(taken)
    rate = len(taken) / (time.perf_counter() - began)
    return Load(statistics.median(ordered), ordered[int(len(ordered) * 0.99)], rate)
