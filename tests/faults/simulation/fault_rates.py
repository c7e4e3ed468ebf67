"""Which faults occur in a history, and how often.

Each seed draws its own rates and turns about half of the faults off, so that some faults occur together without being
masked by all the others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

# The highest probability of each fault at one opportunity.
MAX_RATES = {
    # A worker, at every call of a dependency.
    "killed": 0.02,
    "stalled": 0.04,
    # The store.
    "store unavailable": 0.06,
    "commit unacknowledged": 0.08,
    "commit late": 0.04,
    # The queue.
    "publish unavailable": 0.15,
    "publish unacknowledged": 0.15,
    "message lost": 0.2,
    "message late": 0.3,
    "message repeated": 0.3,
    # The network to the shim, and the shim.
    "unreachable": 0.1,
    "command lost": 0.05,
    "command late": 0.15,
    "connection reset": 0.12,
    "answer lost": 0.12,
    "engine slow": 0.2,
    "engine unavailable": 0.08,
    "start fails": 0.05,
    "port kept": 0.8,
    "list partial": 0.4,
    "list stale": 0.4,
    "registry fails": 0.3,
    "not answering": 0.3,
    # Changes on the droplet that do not come from the control plane.
    "drift": 0.5,
}


@dataclass
class FaultRates:
    rates: dict[str, float]

    @classmethod
    def from_seed(cls, rng: random.Random) -> FaultRates:
        return cls(
            {fault: maximum * rng.random() if rng.random() < 0.5 else 0.0 for fault, maximum in MAX_RATES.items()}
        )

    def occurs(self, rng: random.Random, fault: str) -> bool:
        """Draw whether `fault` occurs at this opportunity."""
        rate = self.rates[fault]
        return rate > 0 and rng.random() < rate

    def stop(self) -> None:
        """Let no fault occur from now on."""
        self.rates = dict.fromkeys(self.rates, 0.0)
