"""A deterministic scheduler: one clock, and one thread that runs at a time.

Each worker is a thread, because the code under test is synchronous and must be what is deployed. A worker gives up its
turn at every call of a dependency, and there the seed draws who continues; between two such calls no other worker runs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.simulation.fault_rates import FaultRates
from tests.faults.simulation.violation import Violation

START = datetime(2026, 1, 1, tzinfo=UTC)
# Two workers' clocks differ by less than the 10 s of grace after a lease, and each from a shim's by less than 5 s.
SKEW_SECONDS = 4.5


class Killed(BaseException):
    """The worker's process was killed. A BaseException, so that the code under test does not handle it."""


@dataclass(eq=False)
class Worker:
    """One process that handles a request, a push or a sweep.

    `absent`: names of containers that the engine reported missing to this worker. `leases`: the lease that it holds, by
    instance.
    """

    name: str
    skew: timedelta
    ready: Callable[[], bool] | None = None
    wakes: datetime = START
    doomed: bool = False
    done: bool = False
    answer: Any = None
    error: BaseException | None = None
    absent: set[str] = field(default_factory=set)
    leases: dict[str, str] = field(default_factory=dict)
    request: Any = None

    def __post_init__(self) -> None:
        # Released to let the worker run; it is acquired again at once, so it is free only during a hand-over.
        self.turn = threading.Lock()
        self.turn.acquire()


class Scheduler:
    """`now` is the true time. `trace` receives a line for each thing that happens; None keeps none."""

    def __init__(self, rng: random.Random, faults: FaultRates, trace: list[str] | None) -> None:
        self.rng, self.faults, self.trace = rng, faults, trace
        self.now = START
        self.workers: list[Worker] = []
        self.violation: BaseException | None = None
        self._timers: list[tuple[datetime, Callable[[], None]]] = []
        self._main = Worker("main", timedelta())
        self.current = self._main
        self._steps = 0
        self._closing = False

    # Called by the simulation, outside of any worker.

    def spawn(self, name: str, task: Callable[[], Any], then: Callable[[Worker], None]) -> Worker:
        """Start a worker that runs `task`; call `then` when it has ended, also when it was killed."""
        worker = Worker(name, timedelta(seconds=self.rng.uniform(-SKEW_SECONDS, SKEW_SECONDS)), wakes=self.now)
        self.workers.append(worker)
        threading.Thread(target=self._live, args=(worker, task, then), daemon=True).start()
        return worker

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append((self.now + timedelta(seconds=seconds), act))

    def run(self, steps: int, *, to_the_end: bool = False) -> None:
        """Take `steps` steps; with `to_the_end`, raise Violation where something is still under way after them."""
        self._steps = steps
        self._hand_over(self._main)
        if self.violation:
            raise self.violation
        if to_the_end and (self.workers or self._timers):
            raise Violation(f"no end: {[worker.name for worker in self.workers]} still run")

    def close(self) -> None:
        self._closing = True
        for worker in list(self.workers):
            worker.doomed = True
            self.current = worker
            worker.turn.release()
            self._main.turn.acquire()

    # Called by the simulated dependencies, inside a worker.

    def clock(self) -> datetime:
        return self.now + self.current.skew

    def cede(self, what: str) -> None:
        """Give up the turn at a call of a dependency; the worker may be stalled or killed here."""
        worker = self.current
        if worker is self._main:
            return
        self.log(what)
        if self.faults.occurs(self.rng, "killed"):
            self.log("is killed")
            worker.doomed = True
        elif self.faults.occurs(self.rng, "stalled"):
            worker.wakes = self.now + timedelta(seconds=self.rng.uniform(1, 60))
        self._wait(worker)

    def pause(self, seconds: float) -> None:
        self.current.wakes = self.now + timedelta(seconds=seconds)
        self.cede(f"pauses {seconds:.2f} s")

    def wait(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready` is true or `seconds` have passed."""
        worker = self.current
        worker.ready, worker.wakes = ready, self.now + timedelta(seconds=seconds)
        self._wait(worker)
        worker.ready, worker.wakes = None, self.now

    def log(self, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{(self.now - START).total_seconds():9.3f} {self.current.name:<16} {what}")

    def _live(self, worker: Worker, task: Callable[[], Any], then: Callable[[Worker], None]) -> None:
        worker.turn.acquire()
        self.current = worker
        try:
            if worker.doomed:
                raise Killed
            worker.answer = task()
        except BaseException as error:
            worker.error = error
        worker.done = True
        self.workers.remove(worker)
        self.current = self._main
        if isinstance(worker.error, Violation):
            self.violation = self.violation or worker.error
        elif not self._closing:
            self._guarded(lambda: then(worker))
        self._next().turn.release()

    def _wait(self, worker: Worker) -> None:
        self._hand_over(worker)
        if worker.doomed:
            raise Killed

    def _hand_over(self, mine: Worker) -> None:
        chosen = self._next()
        if chosen is not mine:
            chosen.turn.release()
            mine.turn.acquire()
        self.current = mine

    def _next(self) -> Worker:
        """Choose the worker that runs next; timers that are drawn before it run here."""
        while self._steps > 0 and not self.violation and not self._closing:
            self._steps -= 1
            self.now += timedelta(seconds=self.rng.random() * 0.02)
            runnable = [worker for worker in self.workers if self._runnable(worker)]
            due = [timer for timer in self._timers if timer[0] <= self.now]
            if not runnable and not due:
                if not self._advance():
                    break
                continue
            index = self.rng.randrange(len(runnable) + len(due))
            if index < len(runnable):
                return runnable[index]
            self.current = self._main
            timer = due[index - len(runnable)]
            self._timers.remove(timer)
            self._guarded(timer[1])
        return self._main

    def _runnable(self, worker: Worker) -> bool:
        return worker.wakes <= self.now or (worker.ready is not None and worker.ready())

    def _advance(self) -> bool:
        """Advance the clock to the next timer or worker; return False where there is none."""
        times = [worker.wakes for worker in self.workers] + [due for due, _ in self._timers]
        if not times:
            return False
        self.now = max(self.now, min(times))
        return True

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:
            self.violation = self.violation or error
