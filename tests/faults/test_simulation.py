"""Five hundred seeds of the simulation at each run; tests/faults/simulate takes as many as wanted."""

import pytest

from tests.faults.simulation.run import failure_of, trace_of

SEEDS, PART = range(1, 501), 50


@pytest.mark.parametrize("first", SEEDS[::PART])
def test_every_promise_is_kept_whatever_happens(first: int) -> None:
    for seed in range(first, first + PART):
        failure = failure_of(seed)
        assert not failure, failure


def test_one_seed_is_one_history() -> None:
    assert trace_of(7) == trace_of(7)
    assert trace_of(7) != trace_of(8)


def test_host_ports_are_drawn_anew_in_some_histories() -> None:
    told = (line for seed in SEEDS for line in trace_of(seed)[0])
    assert any("are drawn anew" in line for line in told)
