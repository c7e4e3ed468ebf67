"""One seed, one history.

First a time in which every fault of the seed may occur; then no fault occurs any more, and after some sweeps the actual
state must match the desired state.
"""

from __future__ import annotations

import logging
import random
import traceback
import uuid
from datetime import timedelta
from functools import partial

from functions.adapters.digitalocean import NoDroplets
from functions.adapters.store_sqlite import SqliteStore
from functions.adapters.toolbox_shim import ToolboxShims
from functions.domain.errors import ToolboxesError
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Create, Dependencies, Query, Task
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile.tasks import run_task
from functions.lifecycle.repository import TOOLBOXES, toolbox_ref
from shim.contract.errors import ShimError
from tests.fakes.stored import decode, encode
from tests.fakes.world import DOCUMENTS, VAULT, active_toolbox
from tests.faults.simulation.clients import Clients
from tests.faults.simulation.drift import Drift
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.droplet_oracle import DropletOracle
from tests.faults.simulation.fault_rates import FaultRates
from tests.faults.simulation.final_oracle import unconverged
from tests.faults.simulation.queue import SimulatedQueue
from tests.faults.simulation.scheduler import START, Killed, Scheduler, Worker
from tests.faults.simulation.shim import SimulatedShims
from tests.faults.simulation.store import SimulatedStore
from tests.faults.simulation.store_oracle import StoreOracle
from tests.faults.simulation.violation import Violation, require

SWEEP_EVERY = timedelta(seconds=60)
EPISODES = range(24, 49)
MAX_STEPS = 20_000
MAX_SWEEPS = 30
REDELIVERIES = 4


class Simulation:
    def __init__(self, seed: int, trace: list[str] | None = None) -> None:
        self.rng = random.Random(seed)
        self.scheduler = Scheduler(self.rng, FaultRates.from_seed(self.rng), trace)
        self.store = SqliteStore(":memory:")
        self.droplets = {
            str(uuid.UUID(int=number, version=4)): Droplet(lambda: self.scheduler.now, name=f"droplet-{number}")
            for number in (1, 2)
        }
        self.oracle = StoreOracle(self.scheduler, self.droplets)
        droplet_oracle = DropletOracle(self.oracle)
        for droplet in self.droplets.values():
            droplet.changed = droplet_oracle.changed
        self.deps = Dependencies(
            store=SimulatedStore(self.scheduler, self.store, self.oracle),
            queue=SimulatedQueue(self.scheduler, self._push),
            shims=ToolboxShims(SimulatedShims(self.scheduler, self.droplets, droplet_oracle)),
            droplets=NoDroplets(),
            now=self.scheduler.clock,
            new_id=lambda: str(uuid.UUID(int=self.rng.getrandbits(128), version=4)),
            pause=self.scheduler.pause,
            draw=self.rng.random,
            vault=VAULT,
            documents=DOCUMENTS,
        )
        self.clients = Clients(self.scheduler, self.deps, self.oracle, self._toolboxes())
        self.drift = Drift(self.scheduler, self.droplets)
        self.sweeps = 0
        self._swept_at = START

    def run(self) -> None:
        """Play the history of this seed. Raises Violation."""
        try:
            for _ in range(self.rng.choice(EPISODES)):
                self._episode()
            self._settle()
        finally:
            self.scheduler.close()

    def _toolboxes(self) -> dict[str, str]:
        accounts = {}
        for number, toolbox_id in enumerate(self.droplets, 1):
            accounts[toolbox_id] = f"account-{number}"
            toolbox = active_toolbox(toolbox_id, accounts[toolbox_id], START)
            self.store.commit([Create(toolbox_ref(toolbox_id), encode(toolbox))])
        return accounts

    def _episode(self) -> None:
        if self.scheduler.faults.occurs(self.rng, "drift"):
            self.drift.inject()
        elif self.rng.random() < 0.6:
            self.clients.ask()
        if self.scheduler.now - self._swept_at >= SWEEP_EVERY:
            self._sweep()
        self.scheduler.run(self.rng.randrange(40))

    def _sweep(self) -> None:
        self._swept_at = self.scheduler.now
        for droplet in self.droplets.values():
            droplet.crash_again()
        self.scheduler.spawn("sweep", partial(sweep.sweep, self.deps), self._swept)

    def _swept(self, worker: Worker) -> None:
        self._require_expected_error(worker)

    def _push(self, task: Task, times: int = 1) -> None:
        name = f"{task.kind} {task.id[:4]}.{times}"
        run = partial(run_task, self.deps, task)

        def ended(worker: Worker) -> None:
            self._require_expected_error(worker)
            if worker.error and times < REDELIVERIES:
                self.scheduler.after(self.rng.uniform(1, 20), lambda: self._push(task, times + 1))

        self.scheduler.spawn(name, run, ended)

    def _require_expected_error(self, worker: Worker) -> None:
        error = worker.error
        self.scheduler.log(f"{worker.name} ended{f': {error!r}' if error else ''}")
        if error and not isinstance(error, ToolboxesError | ShimError | Killed):
            raise Violation(f"{worker.name} ended by {''.join(traceback.format_exception(error))}")

    def _settle(self) -> None:
        """Stop all faults, let what is under way end, and sweep until the actual state matches the desired one."""
        self.scheduler.faults.stop()
        self.clients.faults_stopped = True
        self.scheduler.log("no fault occurs from here on")
        for droplet in self.droplets.values():
            droplet.reachable_at = START
            droplet.foreign.clear()  # Whoever renamed these removes them, which frees their host ports.
        self.scheduler.run(MAX_STEPS, to_the_end=True)
        for request in [request for request in self.clients.requests if request.key]:
            self.clients.send(request)
        self.scheduler.run(MAX_STEPS, to_the_end=True)
        left = ["not checked"]
        while left and self.sweeps < MAX_SWEEPS:
            self.sweeps += 1
            self.scheduler.now += SWEEP_EVERY
            self._sweep()
            self.scheduler.run(MAX_STEPS, to_the_end=True)
            found = [decode(Toolbox, snapshot) for snapshot in self.store.query(Query(TOOLBOXES))]
            left = unconverged(self.oracle, [loaded.value for loaded in found if loaded], self.droplets)
        require(not left, f"after {self.sweeps} sweeps without a fault: {'; '.join(left)}")


def failure_of(seed: int, trace: list[str] | None = None) -> str:
    """Run the seed; return what was violated and the command that repeats it, or an empty string."""
    logging.disable(logging.CRITICAL)
    try:
        Simulation(seed, trace).run()
    except Violation as violation:
        return f"{violation}\ntests/faults/simulate --seed {seed}"
    finally:
        logging.disable(logging.NOTSET)
    return ""


def trace_of(seed: int) -> tuple[list[str], str]:
    """Run the seed; return the lines of what happened, and what `failure_of` returns."""
    trace: list[str] = []
    failure = failure_of(seed, trace)
    return trace, failure
