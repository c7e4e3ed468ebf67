"""Run many seeds, or one seed and print its history:

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
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="run this seed alone and print its history")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        trace, failure = trace_of(arguments.seed)
        print("\n".join(trace))
        print(failure or "every promise holds")
        return 1 if failure else 0
    began = time.monotonic()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        if failure := failure_of(seed):
            print(failure)
            return 1
    print(f"{arguments.seeds} seeds, {arguments.seeds / (time.monotonic() - began):.0f} a second: every promise holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
