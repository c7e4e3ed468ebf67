"""The simulated toolboxes of the benchmarks: their documents, and the lists that their shims answer with.

Everything follows from a toolbox's number, so that the process that simulates the shims and the one that writes the
documents agree without exchanging anything.
"""

from __future__ import annotations

import hashlib
import ssl
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from functions.adapters.documents.codec import DocumentCodec
from functions.domain.errors import Unavailable
from functions.domain.instance.container import Container, ContainerLimits
from functions.domain.instance.model import Desired, DesiredState, Instance, InstanceStatus, Observed
from functions.domain.instance.spec import Spec
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.lifecycle.dependencies import Put, Store
from functions.lifecycle.repository import instance_ref, toolbox_ref
from functions.lifecycle.toolbox.inspect import HEARTBEAT_EVERY, INSPECT_EVERY
from shim import identity
from shim.contract import messages, names, routes

CONTAINERS = 10
# A client keeps sessions by certificate: so many of them that none is kept until its toolbox is looked at again.
CERTIFICATES = 256
IMAGE = "registry.test/server:1"
ETAG = '"0123456789abcdef"'
# Writes in one commit. Firestore takes 500, which a cold emulator does not manage in the time that a commit may take.
BATCH = 100
ATTEMPTS = 10
_NAMESPACE = uuid.UUID("6f2a1c5e-8d0b-4c3f-9e57-3b1d2a4c6e80")


def toolbox_id(number: int) -> str:
    return str(uuid.UUID(bytes=uuid.uuid5(_NAMESPACE, f"toolbox {number}").bytes, version=4))


def instance_id(number: int, index: int) -> str:
    return str(uuid.UUID(bytes=uuid.uuid5(_NAMESPACE, f"instance {number} {index}").bytes, version=4))


def address(number: int) -> str:
    """One of 127.64.0.0/10, where nothing else of this machine listens."""
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def certificates(directory: Path) -> list[Path]:
    """PEM files with certificate and key, made where they are missing; toolbox `number` has that of its remainder."""
    return [
        identity.ensure_certificate(directory / str(index), f"certificate {index}") for index in range(CERTIFICATES)
    ]


def container(number: int, index: int) -> messages.Listed:
    """One line of the list that the toolbox's shim answers with."""
    instance = instance_id(number, index)
    return messages.Listed(
        id=hashlib.sha256(instance.encode()).hexdigest(),
        name=names.container_name(instance, 1),
        instance_id=instance,
        spec_generation=1,
        state="running",
        health=None,
        endpoint_id=hashlib.sha256(f"endpoint {instance}".encode()).hexdigest(),
        memory_bytes=512 << 20,
        limits=None,
    )


def status(number: int) -> bytes:
    """The body of `GET /status`."""
    listed = [container(number, index) for index in range(CONTAINERS)]
    return messages.dump(messages.Status("1.0.0", routes.CONTRACT, f"engine {number}", True, listed))


def toolbox(number: int, fingerprints: list[str], now: datetime) -> Toolbox:
    """A settled toolbox in contact. Heartbeats and full inspections are spread as a running system spreads them."""
    made = now - timedelta(days=30)
    return Toolbox(
        id=toolbox_id(number),
        account=f"account-{number % 1000}",
        name=f"box-{number}",
        status=ToolboxStatus.ACTIVE,
        region="fra1",
        size="s-1vcpu-1gb",
        image="debian-12-x64",
        created_at=made,
        updated_at=now,
        address=address(number),
        fingerprint=fingerprints[number % CERTIFICATES],
        certificate=ssl.DER_cert_to_PEM_cert(bytes(500)),
        droplet_id=str(number),
        droplet_state="active",
        served_at=made,
        engine_id=f"engine {number}",
        shim_version="1.0.0",
        contract=routes.CONTRACT,
        last_heartbeat_at=now - HEARTBEAT_EVERY * (number % 4) / 4 - timedelta(seconds=30),
        etag=ETAG,
        listed_at=now - timedelta(minutes=1),
        inspected_at=now - INSPECT_EVERY * (number % 60) / 60,
        observed_generation=1,
        has_firewall=True,
        revision=toolbox_id(number),
    )


def instance(number: int, index: int, now: datetime) -> Instance:
    """A settled instance that runs, as last inspected a day ago."""
    listed, then = container(number, index), now - timedelta(days=1)
    observed = Container(
        id=listed.id,
        name=listed.name,
        instance_id=listed.instance_id,
        spec_generation=1,
        state="running",
        health=None,
        exit_code=0,
        oom_killed=False,
        error="",
        started_at=then.isoformat(),
        finished_at="",
        restart_count=0,
        image=IMAGE,
        image_digest="sha256:" + "2" * 64,
        ports=[],
        environment_names=["LOG_LEVEL", "MODE"],
        limits=ContainerLimits(512 << 20, 500_000_000, 256),
        endpoint_id=listed.endpoint_id,
    )
    return Instance(
        id=listed.instance_id,
        toolbox_id=toolbox_id(number),
        account=f"account-{number % 1000}",
        name=f"server-{index}",
        spec=Spec(IMAGE, environment={"LOG_LEVEL": "info", "MODE": "production"}),
        desired=Desired(DesiredState.RUNNING),
        created_at=then + timedelta(seconds=index),
        updated_at=then,
        status=InstanceStatus.RUNNING,
        observed=Observed(container=observed, at=then, generation=1),
        revision=listed.instance_id,
    )


def store(store: Store, numbers: range, fingerprints: list[str], now: datetime) -> None:
    """Write the documents of these toolboxes and of their instances."""
    writes: list[Put] = []
    for write in _writes(numbers, fingerprints, now):
        writes.append(write)
        if len(writes) == BATCH:
            _commit(store, writes)
            writes = []
    if writes:
        _commit(store, writes)


def _commit(store: Store, writes: list[Put]) -> None:
    """Commit, and again where a busy emulator did not answer: what is put twice is put once."""
    for _ in range(ATTEMPTS - 1):
        try:
            store.commit(writes)
        except Unavailable:
            continue
        return
    store.commit(writes)


def _writes(numbers: range, fingerprints: list[str], now: datetime) -> Iterator[Put]:
    codec = DocumentCodec()
    for number in numbers:
        yield Put(toolbox_ref(toolbox_id(number)), codec.encode(toolbox(number, fingerprints, now)))
        for index in range(CONTAINERS):
            made = instance(number, index, now)
            yield Put(instance_ref(made.id), codec.encode(made))
