"""Rotated credentials: the backend's new values are recorded first, then applied to the instance that uses them.

Recording is one commit with the message's deduplication record, so that a message is never lost between the two, and
an instance that cannot be changed now (it is being updated, say) gets the values later.

rotations/{instance id}   Rotation
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from functions.domain.account.model import Caller
from functions.domain.errors import (
    AccountNotActive,
    BadRequest,
    Conflict,
    NotAllowedNow,
    NotFound,
    PayloadTooLarge,
)
from functions.domain.event import BACKEND
from functions.domain.instance.model import Instance, Rotation, newer_values
from functions.lifecycle.account.status import RECEIVED_TTL, deduplication_ref, deduplication_write
from functions.lifecycle.dependencies import Dependencies, Ref, Replace, Task
from functions.lifecycle.idempotency import KeyedRequest, RequestKey, StoredAnswer, run_once
from functions.lifecycle.instance.change import InstanceRequest, replace_secrets, resume
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
    """The backend's message: the values of an instance's secret variables since `at`. `id` is the message's."""

    id: str
    account: str
    instance_id: str
    at: datetime
    values: Mapping[str, str] = field(repr=False)


def receive(deps: Dependencies, message: CredentialRotation) -> None:
    """Record the message, once, and have it applied. Raises NotFound where the account has no such instance."""
    ref, message_ref = Ref(ROTATIONS, message.instance_id), deduplication_ref(message.id)

    def attempt() -> None:
        handled, rotation_snapshot, instance_snapshot = deps.store.get(
            [message_ref, ref, instance_ref(message.instance_id)]
        )
        if handled:
            return
        instance = decode(deps, Instance, instance_snapshot)
        if instance is None or instance.value.account != message.account or instance.value.deleted_at:
            raise NotFound(f"The account has no instance {message.instance_id!r}.")
        present = decode(deps, Rotation, rotation_snapshot)
        merged = _merged(deps, instance.value, present.value if present else None, message)
        deduplication = deduplication_write(deps, message.id, message.account)
        deps.store.commit([deduplication, overwrite(ref, encode(deps, merged), present)])
        publish_or_leave_to_sweep(deps, Task("rotation", ref.id))

    contended = "The credentials of this instance are being changed by other messages. Send it again."
    update_with_retry(deps, attempt, contended)


def apply(deps: Dependencies, instance_id: str) -> None:
    """Give the instance the values that wait for it. Where it cannot be changed now, they stay due."""
    ref = Ref(ROTATIONS, instance_id)
    rotation_snapshot, instance_snapshot = deps.store.get([ref, instance_ref(instance_id)])
    rotation, instance = decode(deps, Rotation, rotation_snapshot), decode(deps, Instance, instance_snapshot)
    if rotation is None or rotation.value.waiting is None:
        return
    try:
        if instance:
            _replace_secrets(deps, instance.value, rotation.value)
    except NotFound:
        log.info("dropped the credentials of a deleted instance", extra={"instance": instance_id})
    except (BadRequest, PayloadTooLarge) as error:
        log.error("dropped credentials that the instance can never have: %s", error, extra={"instance": instance_id})
    except (NotAllowedNow, AccountNotActive) as error:
        log.info("credentials cannot be applied yet: %s", error, extra={"instance": instance_id})
        return
    applied = encode(deps, replace(rotation.value, waiting=None, due_at=None))
    try:
        deps.store.commit([Replace(ref, applied, rotation.version)])
    except Conflict:
        log.info("more credentials were recorded meanwhile", extra={"instance": instance_id})


def _merged(deps: Dependencies, instance: Instance, present: Rotation | None, message: CredentialRotation) -> Rotation:
    """Return the values that wait already together with the message's newer ones."""
    newer = newer_values(present, message.values, message.at)
    waiting = deps.vault.open(present.waiting, _associated_data(instance)) if present and present.waiting else {}
    values = {**waiting, **newer}
    return Rotation(
        instance_id=instance.id,
        times={**(present.times if present else {}), **dict.fromkeys(newer, message.at)},
        waiting=deps.vault.seal(values, _associated_data(instance)) if values else None,
        due_at=deps.now() if values else None,
        revision=deps.new_id(),
        expire_at=deps.now() + RECEIVED_TTL,
    )


def _replace_secrets(deps: Dependencies, instance: Instance, rotation: Rotation) -> None:
    assert rotation.waiting is not None
    values = deps.vault.open(rotation.waiting, _associated_data(instance))
    backend = Caller(instance.account, BACKEND)
    # A worker may have died after it applied the values and before it recorded that. The idempotency record then keeps
    # the container from being replaced a second time.
    key = RequestKey(backend.account, f"rotation {rotation.revision}", "rotation")
    run_once(
        KeyedRequest(deps, key, lambda _: StoredAnswer(200, {})),
        lambda commit: replace_secrets(
            deps, InstanceRequest(backend, instance.toolbox_id, instance.id, commit), values
        ),
        lambda instance_id, _: resume(deps, instance_id),
    )


def _associated_data(instance: Instance) -> str:
    return f"rotation\n{instance.account}\n{instance.id}"
