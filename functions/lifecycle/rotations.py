"""Credentials that the backend has exchanged: on record first, sealed, then put into the instance that uses them.

rotations/{instance id}   Rotation
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions.domain import event
from functions.domain.caller import Caller
from functions.domain.errors import AccountNotActive, Conflict, Contended, NotAllowedNow, NotFound, Unavailable
from functions.domain.instance import Instance
from functions.domain.rotation import Rotation
from functions.lifecycle.accounts import HEARD_FOR, heard, heard_ref
from functions.lifecycle.change import Asked
from functions.lifecycle.documents import dump, instance_ref, load
from functions.lifecycle.hold import ATTEMPTS, backoff
from functions.lifecycle.ports import Create, Ports, Ref, Replace, Task
from functions.lifecycle.replay import Replay
from functions.lifecycle.update import replace_secrets

log = logging.getLogger(__name__)

ROTATIONS = "rotations"


@dataclass(frozen=True, slots=True)
class Rotated:
    """The backend's word, in its message `id`: these are an instance's secret variables' values since `at`."""

    id: str
    account: str
    instance_id: str
    at: datetime
    values: Mapping[str, str] = field(repr=False)


def hear(ports: Ports, rotated: Rotated) -> None:
    """Put it on record, once; of each variable the newest value. Raises NotFound where the account has no such one."""
    ref, known_id = Ref(ROTATIONS, rotated.instance_id), heard_ref(rotated.id)
    for attempt in range(ATTEMPTS):
        already, found, about = ports.store.get([known_id, ref, instance_ref(rotated.instance_id)])
        if already:
            return
        instance = load(Instance, about)
        if instance is None or instance.value.account != rotated.account or instance.value.deleted_at:
            raise NotFound(f"the account has no instance {rotated.instance_id!r}")
        known = load(Rotation, found)
        document = dump(_joined(ports, instance.value, known.value if known else None, rotated))
        try:
            ports.store.commit(
                [heard(ports, rotated.id, rotated.account),
                 Replace(ref, document, known.version) if known else Create(ref, document)]
            )  # fmt: skip
        except Conflict:
            backoff(ports, attempt)
            continue
        try:
            ports.queue.publish([Task("rotation", ref.id)])
        except Unavailable:
            log.warning("handing on was not confirmed", extra={"instance": ref.id}, exc_info=True)
        return
    raise Contended("others wrote of this instance's credentials at every attempt; send it again")


def run(ports: Ports, instance_id: str) -> None:
    """Give the instance what waits for it. Where that cannot be now, it stays due."""
    ref = Ref(ROTATIONS, instance_id)
    snapshot, about = ports.store.get([ref, instance_ref(instance_id)])
    found, instance = load(Rotation, snapshot), load(Instance, about)
    if found is None or found.value.waiting is None:
        return
    rotation = found.value
    try:
        if instance:
            _put(ports, instance.value, rotation)
    except NotFound:
        log.info("credentials came for an instance that is gone", extra={"instance": instance_id})
    except (NotAllowedNow, AccountNotActive) as error:
        log.info("credentials wait: %s", error, extra={"instance": instance_id})
        return
    done = dump(replace(rotation, waiting=None, due_at=None))
    try:
        ports.store.commit([Replace(ref, done, found.version)])
    except Conflict:
        log.info("further credentials came meanwhile", extra={"instance": instance_id})


def _joined(ports: Ports, instance: Instance, known: Rotation | None, rotated: Rotated) -> Rotation:
    """What waits already, and of the new values those that are not older than what was heard of their variable."""
    times = dict(known.times) if known else {}
    newer = {name: value for name, value in rotated.values.items() if name not in times or times[name] <= rotated.at}
    waiting = ports.vault.open(known.waiting, _bound_to(instance)) if known and known.waiting else {}
    values = {**waiting, **newer}
    return Rotation(
        instance_id=instance.id,
        times={**times, **dict.fromkeys(newer, rotated.at)},
        waiting=ports.vault.seal(values, _bound_to(instance)) if values else None,
        due_at=ports.now() if values else None,
        revision=ports.new_id(),
        expire_at=ports.now() + HEARD_FOR,
    )


def _put(ports: Ports, instance: Instance, rotation: Rotation) -> None:
    assert rotation.waiting is not None
    values = ports.vault.open(rotation.waiting, _bound_to(instance))
    backend = Caller(instance.account, event.BACKEND)
    # A worker that died before it could say that it was done has done it: the container is not made anew again.
    again = Replay(backend.account, f"rotation {rotation.revision}", "rotation", lambda settled: (200, {}))
    replace_secrets(ports, Asked(backend, instance.toolbox_id, instance.id, again), values)


def _bound_to(instance: Instance) -> str:
    return f"rotation\n{instance.account}\n{instance.id}"
