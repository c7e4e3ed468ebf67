"""What must hold in the store: watched at every commit, by what it changed and who sent it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from functions.domain.instance.host_port import MAX_REALLOCATIONS
from functions.domain.instance.model import MOVES, DesiredState, Instance
from functions.domain.instance.spec import Spec
from functions.domain.lease import GRACE
from functions.lifecycle.dependencies import Create, Delete, Document, Ref, Snapshot, Write
from functions.lifecycle.idempotency import REQUESTS
from functions.lifecycle.repository import INSTANCES, NAME_RESERVATIONS, PORT_RESERVATIONS, decode, name_ref, port_ref
from shim.contract import messages
from shim.contract.names import container_name
from tests.faults.simulation.droplet import Droplet
from tests.faults.simulation.scheduler import Scheduler, Worker
from tests.faults.simulation.violated import require


class Witness:
    """`instances` and `claims` as last committed. `lost_leases`: holders that another took over from.

    `kept`: ids of containers whose post-mortem is on record. `not_to_run`: instances that were not to run at some time
    since their spec last changed, so that the newest container need not have run to replace the one before.
    """

    def __init__(self, scheduler: Scheduler, droplets: dict[str, Droplet]) -> None:
        self._scheduler, self._droplets = scheduler, droplets
        self.instances: dict[str, Instance] = {}
        self.claims: dict[Ref, str] = {}
        self.lost_leases: set[str] = set()
        self.kept: set[str] = set()
        self.not_to_run: set[str] = set()
        self._in_a_row: Counter[str] = Counter()
        self._events: dict[Ref, Document] = {}
        self._answers: dict[Ref, Any] = {}

    def committed(self, writes: Sequence[Write], worker: Worker) -> None:
        for write in writes:
            if write.ref.collection in (NAME_RESERVATIONS, PORT_RESERVATIONS):
                self._claim(write)
        for write in writes:
            if isinstance(write, Delete):
                continue
            kind = write.ref.collection.rpartition("/")[2]
            if kind == INSTANCES:
                self._instance(write.ref, write.data, worker)
            elif kind == "events":
                self._event(write.ref, write.data, worker)
            elif kind == "post_mortems" and write.data["container"]:
                self.kept.add(write.data["container"]["id"])
            elif kind == REQUESTS and write.data["answer"] is not None:
                known = self._answers.setdefault(write.ref, write.data["answer"])
                require(known == write.data["answer"], f"a stored answer changed: {known}, {write.data['answer']}")

    def _claim(self, write: Write) -> None:
        if isinstance(write, Create):
            self.claims[write.ref] = write.data["instance_id"]
        elif holder := self.claims.pop(write.ref, None):
            toolbox_id, _, rest = write.ref.id.partition(":")
            port, _, protocol = rest.partition(":")
            there = self._droplets[toolbox_id].containers.values() if rest else ()
            held = [c.name for c in there if c.instance_id == holder
                    and any((str(p.host_port), p.protocol) == (port, protocol) for p in c.ports)]  # fmt: skip
            require(not held, f"port {port} was given up while {held} had it")

    def _event(self, ref: Ref, data: Document, worker: Worker) -> None:
        # A passing obstacle is one event by its code, whatever its sentence was this time.
        told = {key: value for key, value in data.items() if key != "time"}
        told["detail"] = (data["detail"] or "").partition(":")[0]
        known = self._events.setdefault(ref, told)
        require(known == told, f"event {ref.id} was told twice and differently: {known}, {told}")
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
        self._scheduler.tell(
            f"{worker.name} wrote {after.name}: {after.status}, wants {after.desired.state} "
            f"{after.desired.generation}, has {after.observed.generation}, "
            f"lease {after.lease.holder[:4] if after.lease else None}"
        )
        if before is None or before.desired.spec_generation != after.desired.spec_generation:
            self.not_to_run.discard(ref.id)
        if after.desired.state is not DesiredState.RUNNING:
            self.not_to_run.add(ref.id)
        self._generations(before, after)
        self._lease(before, after, worker)
        self._claims(after)
        if before:
            allowed = MOVES[before.status] | {before.status}
            require(after.status in allowed, f"{before.status} became {after.status}")
            self._absence(before, after, worker)
        trouble = after.observed.obstacle
        require(trouble is None or trouble.code != "no-end", f"the plan of {after.name} has no end")

    def _generations(self, before: Instance | None, after: Instance) -> None:
        seen, wanted = after.observed.generation, after.desired.generation
        require(seen <= wanted, f"observed_generation {seen} is ahead of generation {wanted}")
        require(after.desired.spec_generation <= wanted + after.desired.reallocations, "the spec's generation is ahead")
        if before:
            self._redraws(before, after)
            require(0 <= wanted - before.desired.generation <= 1, "the generation did not grow by one")
            require(seen >= before.observed.generation, "observed_generation went back")

    def _redraws(self, before: Instance, after: Instance) -> None:
        """None of a port that was asked for, and not more than three without a container that ran in between."""
        drawn = after.desired.reallocations - before.desired.reallocations
        require(drawn in (0, 1), f"the ports of {after.name} were drawn anew {drawn} times")
        if before.desired.generation == after.desired.generation:
            specs = [before.spec, *([before.previous_version.spec] if before.previous_version else [])]
            require(_asked(after.spec) in map(_asked, specs), f"{after.name} lost a port that it was asked for")
        if drawn:
            self._scheduler.tell(f"the ports of {after.name} are drawn anew: {[p.host_port for p in after.spec.ports]}")
        other_spec = before.desired.spec_generation != after.desired.spec_generation
        if before.container_name in self._droplets[after.toolbox_id].ran or (other_spec and not drawn):
            self._in_a_row[after.id] = 0
        self._in_a_row[after.id] += drawn
        require(self._in_a_row[after.id] <= MAX_REALLOCATIONS, f"the ports of {after.name} are drawn for ever")

    def _lease(self, before: Instance | None, after: Instance, worker: Worker) -> None:
        """Nobody but its holder changes a lease, until some time after its end."""
        old = before.lease if before else None
        if after.lease == old:
            return
        mine = worker.leases.get(after.id)
        if old and old.holder != mine:
            now = self._scheduler.now + timedelta(seconds=5)
            require(now >= old.ends_at + GRACE, f"{worker.name} took over a lease that another held")
            self.lost_leases.add(old.holder)
        if after.lease:
            worker.leases[after.id] = after.lease.holder

    def _claims(self, instance: Instance) -> None:
        """Its name and all its ports are its own as long as it is there, and nobody's later."""
        if instance.deleted_at:
            left = [ref.id for ref, holder in self.claims.items() if holder == instance.id]
            require(not left, f"{instance.name} is deleted and still claims {left}")
            return
        specs = [instance.spec, instance.previous_version.spec] if instance.previous_version else [instance.spec]
        refs = [port_ref(instance.toolbox_id, port) for spec in specs for port in spec.ports]
        for ref in (name_ref(instance.toolbox_id, instance.name), *refs):
            holder = self.claims.get(ref)
            require(holder == instance.id, f"{instance.name} has {ref.id} without a claim; it is of {holder}")

    def _absence(self, before: Instance, after: Instance, worker: Worker) -> None:
        """A container leaves the record only when the engine told this worker that it is not there."""
        vanished = _known(before) - _known(after)
        if after.deleted_at and not before.deleted_at and not before.observed.absent:
            vanished.add(container_name(after.id, after.desired.spec_generation))
        for name in sorted(vanished - worker.told_absent):
            require(False, f"{worker.name} believes that {name} is gone, which no engine said")


def _asked(spec: Spec) -> list[messages.Port]:
    return [port for port in spec.ports if port not in spec.allocated]


def _known(instance: Instance) -> set[str]:
    seen = instance.observed.container, instance.observed.previous
    return {container.name for container in seen if container}
