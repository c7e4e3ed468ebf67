"""Five hundred seeds of the simulation; tests/faults/simulate runs as many as wanted."""

import pytest

from tests.faults.simulation.simulation import failure_of, trace_of

SEEDS, PART = range(1, 501), 50


@pytest.mark.parametrize("first", SEEDS[::PART])
def test_every_promise_holds_in_every_history(first: int) -> None:
    for seed in range(first, first + PART):
        failure = failure_of(seed)
        assert not failure, failure


def test_a_seed_determines_the_history() -> None:
    assert trace_of(7) == trace_of(7)
    assert trace_of(7) != trace_of(8)


def test_some_histories_reallocate_host_ports() -> None:
    lines = (line for seed in SEEDS for line in trace_of(seed)[0])
    assert any("are reallocated" in line for line in lines)
