"""Seed after seed, or one seed with all that happened in it:

tests/faults/simulate --seeds 1000 [--from 1]
tests/faults/simulate --seed 123
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.simulation.simulation import failure_of, trace_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/faults/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    asked = parser.parse_args()
    if asked.seed is not None:
        trace, failure = trace_of(asked.seed)
        print("\n".join(trace))
        print(failure or "every promise was kept")
        return 1 if failure else 0
    began = time.monotonic()
    for seed in range(asked.first, asked.first + asked.seeds):
        if failure := failure_of(seed):
            print(failure)
            return 1
    print(f"{asked.seeds} seeds, {asked.seeds / (time.monotonic() - began):.0f} a second: every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
