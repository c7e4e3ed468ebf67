"""Calls at the same time."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from functions.adapters.threads import MAX_THREADS, concurrently

REQUEST: ContextVar[str] = ContextVar("REQUEST")


def test_calls_run_at_the_same_time() -> None:
    barrier = threading.Barrier(MAX_THREADS)

    def meet() -> None:
        barrier.wait(timeout=30)

    concurrently([meet] * MAX_THREADS)


def test_no_calls_are_no_error() -> None:
    concurrently([])


def test_more_calls_than_threads_all_run() -> None:
    done: list[int] = []
    concurrently([lambda number=number: done.append(number) for number in range(3 * MAX_THREADS)])  # type: ignore[misc]
    assert sorted(done) == [*range(3 * MAX_THREADS)]


def test_error_of_one_call_is_raised_after_all_have_ended() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        concurrently([fail, lambda: done.append(1)])
    assert done == [1]


def test_calls_see_the_context_of_their_caller() -> None:
    REQUEST.set("a")
    observed: list[str] = []
    concurrently([lambda: observed.append(REQUEST.get())])
    assert observed == ["a"]
