"""Runs the named benchmarks, or all of them."""

import sys

from tests.bench import droplets, life, sweeps
from tests.bench.shim import measure

BENCHMARKS = {"life": life.main, "sweeps": sweeps.main, "droplets": droplets.main, "shim": measure.main}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        print(f"== {name}")
        BENCHMARKS[name]()
