"""A seed's verdict."""

from __future__ import annotations

import logging

from tests.faults.simulation.simulation import Simulation
from tests.faults.simulation.violated import Violated


def failure_of(seed: int, trace: list[str] | None = None) -> str:
    """What was broken and the line that shows it again; nothing where every promise was kept."""
    logging.disable(logging.CRITICAL)
    try:
        Simulation(seed, trace).run()
    except Violated as violated:
        return f"{violated}\ntests/faults/simulate --seed {seed}"
    finally:
        logging.disable(logging.NOTSET)
    return ""


def trace_of(seed: int) -> tuple[list[str], str]:
    trace: list[str] = []
    failure = failure_of(seed, trace)
    return trace, failure
