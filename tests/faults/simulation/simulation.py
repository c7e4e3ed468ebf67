"""One seed, one history: a time in which anything may happen, then calm, then everything is as it was asked for."""

from __future__ import annotations

import random
import traceback
import uuid
from datetime import timedelta
from functools import partial

from functions.adapters.digitalocean import NoDroplets
from functions.adapters.store_sqlite import SqliteStore
from functions.domain.errors import ToolboxesError
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Create, Dependencies, Query, Task
from functions.lifecycle.reconcile import instance as reconcile_instance
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile import toolbox as reconcile_toolbox
from functions.lifecycle.repository import TOOLBOXES, decode, encode, toolbox_ref
from shim.contract.errors import ShimError
from tests.fakes.world import DOCUMENTS, VAULT
from tests.faults.simulation.clients import Clients
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.ending import unfinished
from tests.faults.simulation.guard import Guard
from tests.faults.simulation.hands import Hands
from tests.faults.simulation.queue import SimulatedQueue
from tests.faults.simulation.scheduler import START, Killed, Scheduler, Worker
from tests.faults.simulation.shim import SimulatedShims
from tests.faults.simulation.store import SimulatedStore
from tests.faults.simulation.violated import Violated, require
from tests.faults.simulation.weather import Weather
from tests.faults.simulation.witness import Witness

SWEEP_EVERY = timedelta(seconds=60)
MOMENTS = range(24, 49)
MAX_STEPS = 20_000
MAX_SWEEPS = 30
REDELIVERIES = 4


class Simulation:
    def __init__(self, seed: int, trace: list[str] | None = None) -> None:
        self.rng = random.Random(seed)
        self.scheduler = Scheduler(self.rng, Weather.drawn(self.rng), trace)
        self.store = SqliteStore(":memory:")
        self.droplets = {
            str(uuid.UUID(int=number, version=4)): Droplet(lambda: self.scheduler.now, name=f"droplet-{number}")
            for number in (1, 2)
        }
        self.witness = Witness(self.scheduler, self.droplets)
        guard = Guard(self.witness)
        for droplet in self.droplets.values():
            droplet.changed = guard.changed
        self.deps = Dependencies(
            store=SimulatedStore(self.scheduler, self.store, self.witness),
            queue=SimulatedQueue(self.scheduler, self._push),
            shims=SimulatedShims(self.scheduler, self.droplets, guard),
            droplets=NoDroplets(),
            now=self.scheduler.clock,
            new_id=lambda: str(uuid.UUID(int=self.rng.getrandbits(128), version=4)),
            pause=self.scheduler.pause,
            draw=self.rng.random,
            vault=VAULT,
            documents=DOCUMENTS,
        )
        self.clients = Clients(self.scheduler, self.deps, self.witness, self._toolboxes())
        self.hands = Hands(self.scheduler, self.droplets)
        self.sweeps = 0
        self._swept_at = START

    def run(self) -> None:
        """Raises Violated."""
        try:
            for _ in range(self.rng.choice(MOMENTS)):
                self._moment()
            self._calm_down()
        finally:
            self.scheduler.close()

    def _toolboxes(self) -> dict[str, str]:
        accounts = {}
        for number, toolbox_id in enumerate(self.droplets, 1):
            accounts[toolbox_id] = f"account-{number}"
            toolbox = Toolbox(
                id=toolbox_id, account=accounts[toolbox_id], name="box", status=ToolboxStatus.ACTIVE, region="fra1",
                size="s-1vcpu-1gb", image="debian-12-x64", created_at=START, updated_at=START,
            )  # fmt: skip
            self.store.commit([Create(toolbox_ref(toolbox_id), encode(toolbox))])
        return accounts

    def _moment(self) -> None:
        if self.scheduler.weather.strikes(self.rng, "hands"):
            self.hands.meddle()
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
        self._must_be_foreseen(worker)

    def _push(self, task: Task, times: int = 1) -> None:
        name = f"{task.kind} {task.id[:4]}.{times}"
        if task.kind == "toolbox":
            run = partial(reconcile_toolbox.run, self.deps, task.id)
        else:
            run = partial(reconcile_instance.run, self.deps, task)

        def ended(worker: Worker) -> None:
            self._must_be_foreseen(worker)
            if worker.error and times < REDELIVERIES:
                self.scheduler.after(self.rng.uniform(1, 20), lambda: self._push(task, times + 1))

        self.scheduler.spawn(name, run, ended)

    def _must_be_foreseen(self, worker: Worker) -> None:
        error = worker.error
        self.scheduler.tell(f"{worker.name} ended{f': {error!r}' if error else ''}")
        if error and not isinstance(error, ToolboxesError | ShimError | Killed):
            raise Violated(f"{worker.name} ended by {''.join(traceback.format_exception(error))}")

    def _calm_down(self) -> None:
        """Nothing fails any more: whatever was begun ends, and sweeps bring about what is wanted."""
        self.scheduler.weather.calm()
        self.clients.calm = True
        self.scheduler.tell("from here on nothing fails")
        for droplet in self.droplets.values():
            droplet.reachable_at = START
            droplet.foreign.clear()  # Whoever renamed them takes them, and the host ports that they had, away.
        self.scheduler.run(MAX_STEPS, to_the_end=True)
        for request in [request for request in self.clients.requests if request.key]:
            self.clients.send(request)
        self.scheduler.run(MAX_STEPS, to_the_end=True)
        left = ["nothing was looked at"]
        while left and self.sweeps < MAX_SWEEPS:
            self.sweeps += 1
            self.scheduler.now += SWEEP_EVERY
            self._sweep()
            self.scheduler.run(MAX_STEPS, to_the_end=True)
            found = [decode(Toolbox, snapshot) for snapshot in self.store.query(Query(TOOLBOXES))]
            left = unfinished(self.witness, [one.value for one in found if one], self.droplets)
        require(not left, f"after {self.sweeps} sweeps without a fault: {'; '.join(left)}")
