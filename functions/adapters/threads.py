"""Calls that run at the same time, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context

MAX_THREADS = 32


def concurrently(calls: Sequence[Callable[[], None]]) -> None:
    """Run all of `calls` at the same time, at most MAX_THREADS of them, and return once every one has ended.

    Each sees the caller's context variables, so that its log lines carry the id of the request. An error is raised
    after all have ended, the first one where there are several. The threads end with the call: a pool that outlives it
    would be throttled with the process once the request is answered, and a slow call would keep its thread from others.
    """
    from concurrent.futures import ThreadPoolExecutor

    if not calls:
        return
    with ThreadPoolExecutor(min(MAX_THREADS, len(calls))) as pool:
        futures = [pool.submit(copy_context().run, call) for call in calls]
    for future in futures:
        future.result()
