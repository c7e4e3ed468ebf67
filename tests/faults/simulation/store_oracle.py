"""What must hold in the store: checked at every commit, by what it changes and which worker sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from functions.domain.instance.container import Port
from functions.domain.instance.host_port import MAX_REALLOCATIONS
from functions.domain.instance.model import DesiredState, Instance, may_become
from functions.domain.instance.spec import Spec
from functions.domain.lease import GRACE
from functions.lifecycle.dependencies import Create, Delete, Document, Ref, Snapshot, Write
from functions.lifecycle.idempotency import REQUESTS
from functions.lifecycle.repository import INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, name_ref, port_ref
from shim.contract.names import container_name
from tests.fakes.stored import decode
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.scheduler import Scheduler, Worker
from tests.faults.simulation.violation import require


class StoreOracle:
    """Follows every commit.

    Attributes:
        instances: Instances as last committed.
        reservations: The holder of each reservation as last committed.
        lost_leases: Leases that another worker has taken over.
        post_mortems: Ids of containers whose post-mortem is stored.
        ever_stopped: Instances whose desired state was not `running` at some time since their spec last changed: their
            newest container replaces the previous one without having run.
    """

    def __init__(self, scheduler: Scheduler, droplets: dict[str, Droplet]) -> None:
        self._scheduler, self._droplets = scheduler, droplets
        self.instances: dict[str, Instance] = {}
        self.reservations: dict[Ref, str] = {}
        self.lost_leases: set[str] = set()
        self.post_mortems: set[str] = set()
        self.ever_stopped: set[str] = set()
        self._reallocations: Counter[str] = Counter()
        self._events: dict[Ref, Document] = {}
        self._answers: dict[Ref, Any] = {}

    def committed(self, writes: Sequence[Write], worker: Worker) -> None:
        for write in writes:
            if write.ref.collection in (NAME_RESERVATIONS, PORT_RESERVATIONS):
                self._reservation(write)
        for write in writes:
            if isinstance(write, Delete):
                continue
            kind = write.ref.collection.rpartition("/")[2]
            if kind == INSTANCES:
                self._instance(write.ref, write.data, worker)
            elif kind == "events":
                self._event(write.ref, write.data, worker)
            elif kind == "post_mortems" and write.data["container"]:
                self.post_mortems.add(write.data["container"]["id"])
            elif kind == REQUESTS and write.data["answer"] is not None:
                known = self._answers.setdefault(write.ref, write.data["answer"])
                require(known == write.data["answer"], f"a stored answer changed: {known}, {write.data['answer']}")

    def _reservation(self, write: Write) -> None:
        if isinstance(write, Create):
            self.reservations[write.ref] = write.data["instance_id"]
        elif holder := self.reservations.pop(write.ref, None):
            toolbox_id, _, rest = write.ref.id.partition(":")
            port, _, protocol = rest.partition(":")
            there = self._droplets[toolbox_id].containers.values() if rest else ()
            held = [
                c.name
                for c in there
                if c.instance_id == holder and any((str(p.host_port), p.protocol) == (port, protocol) for p in c.ports)
            ]
            require(not held, f"port {port} was released while {held} used it")

    def _event(self, ref: Ref, data: Document, worker: Worker) -> None:
        # An obstacle is one event per code, whatever the text after its colon.
        content = {key: value for key, value in data.items() if key != "time"}
        content["detail"] = (data["detail"] or "").partition(":")[0]
        known = self._events.setdefault(ref, content)
        require(known == content, f"event {ref.id} was recorded twice and differently: {known}, {content}")
        request = worker.request
        if ref.id.endswith("-0-requested") and ref.collection.startswith(INSTANCES):
            request.effects += 1
            request.instance_id = ref.collection.split("/")[1]
            require(request.effects == 1, f"{request} was done {request.effects} times")

    def _instance(self, ref: Ref, data: Document, worker: Worker) -> None:
        loaded = decode(Instance, Snapshot(ref, data, None))
        assert loaded
        after, before = loaded.value, self.instances.get(ref.id)
        self.instances[ref.id] = after
        self._scheduler.log(
            f"{worker.name} wrote {after.name}: {after.status}, wants {after.desired.state} "
            f"{after.desired.generation}, has {after.observed.generation}, "
            f"lease {after.lease.holder[:4] if after.lease else None}"
        )
        if before is None or before.desired.spec_generation != after.desired.spec_generation:
            self.ever_stopped.discard(ref.id)
        if after.desired.state is not DesiredState.RUNNING:
            self.ever_stopped.add(ref.id)
        self._generations(before, after)
        self._lease(before, after, worker)
        self._reservations(after)
        if before:
            require(may_become(before.status, after.status), f"{before.status} became {after.status}")
            self._absence(before, after, worker)
        obstacle = after.observed.obstacle
        require(obstacle is None or obstacle.code != "no-end", f"the plan of {after.name} has no end")

    def _generations(self, before: Instance | None, after: Instance) -> None:
        observed, wanted = after.observed.generation, after.desired.generation
        require(observed <= wanted, f"observed_generation {observed} is ahead of generation {wanted}")
        require(after.desired.spec_generation <= wanted + after.desired.reallocations, "the spec's generation is ahead")
        if before:
            self._reallocated(before, after)
            require(0 <= wanted - before.desired.generation <= 1, "the generation did not grow by one")
            require(observed >= before.observed.generation, "observed_generation went back")

    def _reallocated(self, before: Instance, after: Instance) -> None:
        """Requested ports are never reallocated, and others three times at most until a container has run."""
        times = after.desired.reallocations - before.desired.reallocations
        require(times in (0, 1), f"the ports of {after.name} were reallocated {times} times in one commit")
        if before.desired.generation == after.desired.generation:
            specs = [before.spec, *([before.previous_version.spec] if before.previous_version else [])]
            require(_requested(after.spec) in map(_requested, specs), f"{after.name} lost a requested port")
        if times:
            self._scheduler.log(f"the ports of {after.name} are reallocated: {[p.host_port for p in after.spec.ports]}")
        other_spec = before.desired.spec_generation != after.desired.spec_generation
        if before.container_name in self._droplets[after.toolbox_id].ran or (other_spec and not times):
            self._reallocations[after.id] = 0
        self._reallocations[after.id] += times
        require(
            self._reallocations[after.id] <= MAX_REALLOCATIONS, f"the ports of {after.name} are reallocated for ever"
        )

    def _lease(self, before: Instance | None, after: Instance, worker: Worker) -> None:
        """Only its holder changes a lease, until some time after its end."""
        old = before.lease if before else None
        if after.lease == old:
            return
        mine = worker.leases.get(after.id)
        if old and old.holder != mine:
            now = self._scheduler.now + timedelta(seconds=5)
            require(now >= old.ends_at + GRACE, f"{worker.name} took over a lease that another worker held")
            self.lost_leases.add(old.holder)
        if after.lease:
            worker.leases[after.id] = after.lease.holder

    def _reservations(self, instance: Instance) -> None:
        """An instance holds the reservations of its name and ports until it is deleted, and none afterwards."""
        if instance.deleted_at:
            left = [ref.id for ref, holder in self.reservations.items() if holder == instance.id]
            require(not left, f"{instance.name} is deleted and still reserves {left}")
            return
        specs = [instance.spec, instance.previous_version.spec] if instance.previous_version else [instance.spec]
        refs = [port_ref(instance.toolbox_id, port) for spec in specs for port in spec.ports]
        for ref in (name_ref(instance.toolbox_id, instance.name), *refs):
            holder = self.reservations.get(ref)
            require(holder == instance.id, f"{instance.name} has {ref.id} without a reservation, which {holder} holds")

    def _absence(self, before: Instance, after: Instance, worker: Worker) -> None:
        """A container leaves the document only when the engine told this worker that it does not exist."""
        vanished = _observed(before) - _observed(after)
        if after.deleted_at and not before.deleted_at and not before.observed.absent:
            vanished.add(container_name(after.id, after.desired.spec_generation))
        for name in sorted(vanished - worker.absent):
            require(False, f"{worker.name} recorded {name} as missing, which no engine reported")


def _requested(spec: Spec) -> list[Port]:
    return [port for port in spec.ports if port not in spec.allocated]


def _observed(instance: Instance) -> set[str]:
    observed = instance.observed.container, instance.observed.previous
    return {container.name for container in observed if container}
