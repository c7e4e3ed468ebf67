"""Pub/Sub by a seed: at least once, in any order, late, and now and then never."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from functions.domain.errors import Unavailable
from functions.lifecycle.dependencies import Task
from tests.faults.simulation.scheduler import Scheduler


class SimulatedQueue:
    """`push` is called with each task whenever its message arrives."""

    def __init__(self, scheduler: Scheduler, push: Callable[[Task], None]) -> None:
        self._scheduler, self._push = scheduler, push

    def publish(self, tasks: Sequence[Task]) -> None:
        scheduler = self._scheduler
        scheduler.cede("publish")
        if self._strikes("publish unavailable"):
            raise Unavailable("the queue did not answer")
        for task in tasks:
            if self._strikes("message lost"):
                continue
            for _ in range(2 if self._strikes("message repeated") else 1):
                self._send(task)
        scheduler.cede("published")
        if self._strikes("publish unacknowledged"):
            raise Unavailable("the queue did not answer")

    def _send(self, task: Task) -> None:
        seconds = self._scheduler.rng.uniform(0, 60 if self._strikes("message late") else 0.5)
        self._scheduler.after(seconds, lambda: self._push(task))

    def _strikes(self, fault: str) -> bool:
        return self._scheduler.weather.strikes(self._scheduler.rng, fault)
