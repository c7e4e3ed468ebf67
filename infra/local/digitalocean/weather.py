"""How the local DigitalOcean is told to fail: which calls, in which way, how often."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from infra.local.digitalocean.refusal import ServerError, TooManyRequests

KINDS = ("slow", "limited", "failing", "lost")


@dataclass
class Fault:
    """`kind`: answer `seconds` late · 429 with Retry-After `seconds` · 500 · do it, and let the answer be lost.

    It meets the next `times` calls of this method and path.
    """

    kind: str
    method: str
    path: str
    times: int = 1
    seconds: float = 0

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"kind is one of {', '.join(KINDS)}"


class Limited(TooManyRequests):
    def __init__(self, seconds: float) -> None:
        super().__init__("API Rate limit exceeded.")
        self.retry_after = round(seconds)


class Weather:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def change(self, asked: list[dict[str, Any]]) -> None:
        """From now on these faults, and none of those before."""
        faults = [Fault(**one) for one in asked]
        with self._lock:
            self._faults = faults

    def meet(self, method: str, path: str) -> bool:
        """Called before each act; whether its answer is to be lost. Raises Limited, ServerError."""
        with self._lock:
            fault = next((f for f in self._faults if (f.method, f.path) == (method, path) and f.times > 0), None)
            if fault is None:
                return False
            fault.times -= 1
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind == "limited":
            raise Limited(fault.seconds)
        elif fault.kind == "failing":
            raise ServerError("Server was unable to give you a response.")
        return fault.kind == "lost"
