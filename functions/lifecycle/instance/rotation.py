"""Credentials that the backend has exchanged: on record first, sealed, then put into the instance that uses them.

rotations/{instance id}   Rotation
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions.domain.account.caller import Caller
from functions.domain.errors import AccountNotActive, Conflict, NotAllowedNow, NotFound
from functions.domain.event import BACKEND
from functions.domain.instance.model import Instance
from functions.domain.instance.rotation import Rotation
from functions.lifecycle.account.status import RECEIVED_TTL, deduplication_ref, deduplication_write
from functions.lifecycle.dependencies import Dependencies, Ref, Replace, Task
from functions.lifecycle.idempotency import Replay
from functions.lifecycle.instance.change import InstanceRequest, replace_secrets
from functions.lifecycle.repository import (
    decode,
    encode,
    instance_ref,
    overwrite,
    publish_or_leave_to_sweep,
    update_with_retry,
)

log = logging.getLogger(__name__)

ROTATIONS = "rotations"


@dataclass(frozen=True, slots=True)
class CredentialRotation:
    """The backend's word, in its message `id`: these are an instance's secret variables' values since `at`."""

    id: str
    account: str
    instance_id: str
    at: datetime
    values: Mapping[str, str] = field(repr=False)


def receive(deps: Dependencies, rotated: CredentialRotation) -> None:
    """Record it once, of each variable the newest value. Raises NotFound where the account has no such instance."""
    ref, message_ref = Ref(ROTATIONS, rotated.instance_id), deduplication_ref(rotated.id)

    def attempt() -> None:
        already, found, about = deps.store.get([message_ref, ref, instance_ref(rotated.instance_id)])
        if already:
            return
        instance = decode(deps, Instance, about)
        if instance is None or instance.value.account != rotated.account or instance.value.deleted_at:
            raise NotFound(f"the account has no instance {rotated.instance_id!r}")
        known = decode(deps, Rotation, found)
        joined = encode(deps, _joined(deps, instance.value, known.value if known else None, rotated))
        deduplication = deduplication_write(deps, rotated.id, rotated.account)
        deps.store.commit([deduplication, overwrite(ref, joined, known)])
        publish_or_leave_to_sweep(deps, Task("rotation", ref.id))

    contended = "the credentials of this instance are being changed by others; send the message again"
    update_with_retry(deps, attempt, contended)


def apply(deps: Dependencies, instance_id: str) -> None:
    """Give the instance what waits for it. Where that cannot be now, it stays due."""
    ref = Ref(ROTATIONS, instance_id)
    snapshot, about = deps.store.get([ref, instance_ref(instance_id)])
    found, instance = decode(deps, Rotation, snapshot), decode(deps, Instance, about)
    if found is None or found.value.waiting is None:
        return
    rotation = found.value
    try:
        if instance:
            _put(deps, instance.value, rotation)
    except NotFound:
        log.info("credentials came for an instance that is gone", extra={"instance": instance_id})
    except (NotAllowedNow, AccountNotActive) as error:
        log.info("credentials wait: %s", error, extra={"instance": instance_id})
        return
    done = encode(deps, replace(rotation, waiting=None, due_at=None))
    try:
        deps.store.commit([Replace(ref, done, found.version)])
    except Conflict:
        log.info("further credentials came meanwhile", extra={"instance": instance_id})


def _joined(deps: Dependencies, instance: Instance, known: Rotation | None, rotated: CredentialRotation) -> Rotation:
    """What waits already, and of the new values those that are not older than what was heard of their variable."""
    times = dict(known.times) if known else {}
    newer = {name: value for name, value in rotated.values.items() if name not in times or times[name] <= rotated.at}
    waiting = deps.vault.open(known.waiting, _associated_data(instance)) if known and known.waiting else {}
    values = {**waiting, **newer}
    return Rotation(
        instance_id=instance.id,
        times={**times, **dict.fromkeys(newer, rotated.at)},
        waiting=deps.vault.seal(values, _associated_data(instance)) if values else None,
        due_at=deps.now() if values else None,
        revision=deps.new_id(),
        expire_at=deps.now() + RECEIVED_TTL,
    )


def _put(deps: Dependencies, instance: Instance, rotation: Rotation) -> None:
    assert rotation.waiting is not None
    values = deps.vault.open(rotation.waiting, _associated_data(instance))
    backend = Caller(instance.account, BACKEND)
    # A worker that died before it could say that it was done has done it: the container is not made anew again.
    again = Replay(backend.account, f"rotation {rotation.revision}", "rotation", lambda settled: (200, {}))
    replace_secrets(deps, InstanceRequest(backend, instance.toolbox_id, instance.id, again), values)


def _associated_data(instance: Instance) -> str:
    return f"rotation\n{instance.account}\n{instance.id}"
