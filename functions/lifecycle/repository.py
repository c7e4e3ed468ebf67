"""Where each thing is kept, and its shape there.

account_tool_environments/{id}            Toolbox
account_tool_instances/{id}               Instance; a deleted one stays as a tombstone until `expire_at`
account_tool_instances/{id}/events/{id}   Event
accounts/{hash(account)}                  Account, once the backend spoke of it or it made a toolbox
instance_names/{hash(toolbox, NFC name)}  {instance_id}: the uniqueness check
port_claims/{toolbox}:{port}:{protocol}   {instance_id}: likewise for host ports
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter

from functions.domain.account.model import Account
from functions.domain.account.registry import Registry
from functions.domain.event import Event
from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance
from functions.domain.instance.rotation import Rotation
from functions.domain.instance.spec import engine_limits
from functions.domain.rollout.model import Rollout
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Create, Delete, Document, Put, Ref, Snapshot, Version, Write

# An instance's memory limit in bytes, beside what the spec says of it in words: Firestore adds up numbers only.
MEMORY = "memory_bytes"
TOOLBOXES = "account_tool_environments"
INSTANCES = "account_tool_instances"
NAME_RESERVATIONS = "instance_names"
PORT_RESERVATIONS = "port_claims"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A document as read, and the version that its next compare-and-set names."""

    value: T
    version: Version


# Built once: it compiles the whole tree of fields.
_ADAPTERS: dict[type, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Instance, Toolbox, Event, Registry, Account, Rotation, Rollout)
}


def decode(kind: type[T], snapshot: Snapshot | None) -> Loaded[T] | None:
    return Loaded(_ADAPTERS[kind].validate_python(snapshot.data), snapshot.version) if snapshot else None


def encode(value: Instance | Toolbox | Event | Registry | Account | Rotation | Rollout) -> Document:
    document = cast(Document, _ADAPTERS[type(value)].dump_python(value))
    return document | {MEMORY: engine_limits(value.spec).memory_bytes} if isinstance(value, Instance) else document


def toolbox_ref(toolbox_id: str) -> Ref:
    return Ref(TOOLBOXES, toolbox_id)


def instance_ref(instance_id: str) -> Ref:
    return Ref(INSTANCES, instance_id)


def ref_of(document: Instance | Toolbox) -> Ref:
    return instance_ref(document.id) if isinstance(document, Instance) else toolbox_ref(document.id)


def name_ref(toolbox_id: str, name: str) -> Ref:
    text = f"{toolbox_id}/{unicodedata.normalize('NFC', name)}"
    return Ref(NAME_RESERVATIONS, hashlib.sha256(text.encode()).hexdigest())


def port_ref(toolbox_id: str, port: Port) -> Ref:
    return Ref(PORT_RESERVATIONS, f"{toolbox_id}:{port.host_port}:{port.protocol}")


def reservations(instance: Instance) -> list[Ref]:
    """Every document that keeps others from this instance's name and host ports, those of both its versions."""
    specs = [instance.spec, *([instance.previous_version.spec] if instance.previous_version else [])]
    ports = [port_ref(instance.toolbox_id, port) for spec in specs for port in spec.ports]
    return [name_ref(instance.toolbox_id, instance.name), *dict.fromkeys(ports)]


def reserve(instance: Instance, before: Instance | None = None) -> list[Write]:
    """The claims that it is to have and `before` does not hold already."""
    held, about = reservations(before) if before else [], {"instance_id": instance.id, "name": instance.name}
    return [Create(ref, about) for ref in reservations(instance) if ref not in held]


def release_reservations(before: Instance, after: Instance | None = None) -> list[Write]:
    """The claims that `before` holds and `after` no longer needs (None: it is gone)."""
    kept = reservations(after) if after else []
    return [Delete(ref) for ref in reservations(before) if ref not in kept]


def toolbox_event(toolbox: Toolbox, event: Event) -> Put:
    return Put(Ref(f"{TOOLBOXES}/{toolbox.id}/events", event.id), encode(event))


def instance_event(instance: Instance, event: Event) -> Put:
    return Put(Ref(f"{INSTANCES}/{instance.id}/events", event.id), encode(event))
