"""One clock and one baton: of all threads one runs, and at every call of a port a seeded draw says who goes on.

Each worker is a thread, so that the code under test is what is deployed; between two port calls nobody else moves.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.simulation.violated import Violated
from tests.faults.simulation.weather import Weather

START = datetime(2026, 1, 1, tzinfo=UTC)
# Apart from each other by less than the 10 s for which nobody takes a lease over, and from the shim's by less than 5 s.
SKEW_SECONDS = 4.5


class Killed(BaseException):
    """The worker's process is gone: nothing of it runs on."""


@dataclass(eq=False)
class Worker:
    """One process's request, push or sweep. `told_absent`: names that the engine told it are not there."""

    name: str
    skew: timedelta
    ready: Callable[[], bool] | None = None
    wakes: datetime = START
    doomed: bool = False
    done: bool = False
    answer: Any = None
    error: BaseException | None = None
    told_absent: set[str] = field(default_factory=set)
    leases: dict[str, str] = field(default_factory=dict)
    request: Any = None

    def __post_init__(self) -> None:
        # Free only between the moment when the baton is handed over and the one when it is taken.
        self.turn = threading.Lock()
        self.turn.acquire()


class Scheduler:
    """`now` is the true time. `trace`: lines of what happened, where they are wanted."""

    def __init__(self, rng: random.Random, weather: Weather, trace: list[str] | None) -> None:
        self.rng, self.weather, self.trace = rng, weather, trace
        self.now = START
        self.workers: list[Worker] = []
        self.violation: BaseException | None = None
        self._timers: list[tuple[datetime, Callable[[], None]]] = []
        self._main = Worker("main", timedelta())
        self.current = self._main
        self._steps = 0
        self._closing = False

    # What the world calls, outside of any worker.

    def spawn(self, name: str, task: Callable[[], Any], then: Callable[[Worker], None]) -> Worker:
        """A worker that runs `task`; `then` is told once it has ended, also when it was killed."""
        worker = Worker(name, timedelta(seconds=self.rng.uniform(-SKEW_SECONDS, SKEW_SECONDS)), wakes=self.now)
        self.workers.append(worker)
        threading.Thread(target=self._live, args=(worker, task, then), daemon=True).start()
        return worker

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append((self.now + timedelta(seconds=seconds), act))

    def run(self, steps: int, *, to_the_end: bool = False) -> None:
        """Let `steps` things happen; with `to_the_end` until nothing is under way, which takes no more than that."""
        self._steps = steps
        self._give_up_the_baton(self._main)
        if self.violation:
            raise self.violation
        if to_the_end and (self.workers or self._timers):
            raise Violated(f"no end: {[worker.name for worker in self.workers]} are still at it")

    def close(self) -> None:
        self._closing = True
        for worker in list(self.workers):
            worker.doomed = True
            self.current = worker
            worker.turn.release()
            self._main.turn.acquire()

    # What the ports call, inside a worker.

    def clock(self) -> datetime:
        return self.now + self.current.skew

    def cede(self, what: str) -> None:
        """A call of a port: whoever is drawn goes on, and this worker when it is drawn again, if it ever is."""
        worker = self.current
        if worker is self._main:
            return
        self.tell(what)
        if self.weather.strikes(self.rng, "killed"):
            self.tell("is killed")
            worker.doomed = True
        elif self.weather.strikes(self.rng, "stalled"):
            worker.wakes = self.now + timedelta(seconds=self.rng.uniform(1, 60))
        self._wait(worker)

    def pause(self, seconds: float) -> None:
        self.current.wakes = self.now + timedelta(seconds=seconds)
        self.cede(f"pauses {seconds:.2f} s")

    def wait(self, ready: Callable[[], bool], seconds: float) -> None:
        """Until `ready`, or `seconds` have passed."""
        worker = self.current
        worker.ready, worker.wakes = ready, self.now + timedelta(seconds=seconds)
        self._wait(worker)
        worker.ready, worker.wakes = None, self.now

    def tell(self, what: str) -> None:
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
        if isinstance(worker.error, Violated):
            self.violation = self.violation or worker.error
        elif not self._closing:
            self._guarded(lambda: then(worker))
        self._next().turn.release()

    def _wait(self, worker: Worker) -> None:
        self._give_up_the_baton(worker)
        if worker.doomed:
            raise Killed

    def _give_up_the_baton(self, mine: Worker) -> None:
        chosen = self._next()
        if chosen is not mine:
            chosen.turn.release()
            mine.turn.acquire()
        self.current = mine

    def _next(self) -> Worker:
        """Whose turn it is; what needs no worker is done on the way."""
        while self._steps > 0 and not self.violation and not self._closing:
            self._steps -= 1
            self.now += timedelta(seconds=self.rng.random() * 0.02)
            able = [worker for worker in self.workers if self._able(worker)]
            due = [timer for timer in self._timers if timer[0] <= self.now]
            if not able and not due:
                if not self._let_time_pass():
                    break
                continue
            drawn = self.rng.randrange(len(able) + len(due))
            if drawn < len(able):
                return able[drawn]
            self.current = self._main
            timer = due[drawn - len(able)]
            self._timers.remove(timer)
            self._guarded(timer[1])
        return self._main

    def _able(self, worker: Worker) -> bool:
        return worker.wakes <= self.now or (worker.ready is not None and worker.ready())

    def _let_time_pass(self) -> bool:
        """To whatever comes next; False where nothing does."""
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
