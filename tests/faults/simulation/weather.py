"""What goes wrong, and how often: each seed draws a climate of its own, so that some faults meet undiluted."""

from __future__ import annotations

import random
from dataclasses import dataclass

# The worst that a climate may have, as the part of all chances that it takes.
WORST = {
    # workers, at every call of a port
    "killed": 0.02,
    "stalled": 0.04,
    # the store
    "store unavailable": 0.06,
    "commit unacknowledged": 0.08,
    "commit late": 0.04,
    # the queue
    "publish unavailable": 0.15,
    "publish unacknowledged": 0.15,
    "message lost": 0.2,
    "message late": 0.3,
    "message repeated": 0.3,
    # the way to the shim, and the shim
    "unreachable": 0.1,
    "command lost": 0.05,
    "command late": 0.15,
    "broken off": 0.12,
    "answer lost": 0.12,
    "engine slow": 0.2,
    "engine unavailable": 0.08,
    "start fails": 0.05,
    "port kept": 0.8,
    "list partial": 0.4,
    "list stale": 0.4,
    "registry fails": 0.3,
    "not answering": 0.3,
    # what people and engines do
    "hands": 0.5,
}


@dataclass
class Weather:
    rates: dict[str, float]

    @classmethod
    def drawn(cls, rng: random.Random) -> Weather:
        return cls({fault: worst * rng.random() if rng.random() < 0.5 else 0.0 for fault, worst in WORST.items()})

    def strikes(self, rng: random.Random, fault: str) -> bool:
        rate = self.rates[fault]
        return rate > 0 and rng.random() < rate

    def calm(self) -> None:
        self.rates = dict.fromkeys(self.rates, 0.0)
