"""A simulated Pub/Sub: delivers at least once, in any order and late, and sometimes loses a message.

Real Pub/Sub does not lose messages; the simulation does, because the sweep must repair what no message announces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from functions.domain.errors import Unavailable
from functions.lifecycle.dependencies import Task
from tests.faults.simulation.scheduler import Scheduler


class SimulatedQueue:
    """`push` is called with each task when its message arrives."""

    def __init__(self, scheduler: Scheduler, push: Callable[[Task], None]) -> None:
        self._scheduler, self._push = scheduler, push

    def publish(self, tasks: Sequence[Task]) -> None:
        scheduler = self._scheduler
        scheduler.cede("publish")
        if self._occurs("publish unavailable"):
            raise Unavailable("the queue did not answer")
        for task in tasks:
            if self._occurs("message lost"):
                continue
            for _ in range(2 if self._occurs("message repeated") else 1):
                self._send(task)
        scheduler.cede("published")
        if self._occurs("publish unacknowledged"):
            raise Unavailable("the queue did not answer")

    def _send(self, task: Task) -> None:
        seconds = self._scheduler.rng.uniform(0, 60 if self._occurs("message late") else 0.5)
        self._scheduler.after(seconds, lambda: self._push(task))

    def _occurs(self, fault: str) -> bool:
        return self._scheduler.faults.occurs(self._scheduler.rng, fault)
