"""Runs the named benchmarks, or all of them."""

import sys
from collections.abc import Callable

from tests.bench import cold, droplets, fleet, life, reads, sweeps, throughput
from tests.bench.shim import measure

BENCHMARKS: dict[str, Callable[[], None]] = {
    "life": life.main,
    "sweeps": sweeps.main,
    "droplets": droplets.main,
    "shim": measure.main,
    "cold": cold.main,
    "throughput": throughput.main,
    "reads": reads.main,
    "fleet": fleet.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"== {name}")
        BENCHMARKS[name]()
