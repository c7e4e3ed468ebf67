"""The commands on containers: find by inspect, act once, and answer with what inspect shows afterwards.

Nothing is remembered between two commands. A map of containers in memory is what drifted apart from Docker in the
system that this one replaces: after a restart of the agent, or an act by hand, it described containers that did not
exist. Docker is asked each time, which costs 2 ms.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from shim import spec
from shim.contract import errors, names
from shim.contract.messages import ActionResult, Container, Create, Listed
from shim.contract.tokens import Claims
from shim.docker import Engine
from shim.images import Images

T = TypeVar("T")
LIVE = ("running", "restarting", "paused")
REMOVED_WITHIN_SECONDS = 10.0
REMOVAL_STOP_SECONDS = 10
LOCKS = 256


class Locks:
    """One command at a time for item instance.

    A fixed number of locks, chosen by a hash of the instance's id, because a lock for each instance would be a map of
    instances that grows and has to be cleaned. Two instances that share a lock wait for each other, which costs time
    and nothing else.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._locks = tuple(threading.Lock() for _ in range(LOCKS))
        self._clock = clock

    @contextmanager
    def hold(self, instance_id: str, claims: Claims) -> Iterator[Callable[[], None]]:
        """Holds the instance's lock. Gives the fence, to be called just before the engine acts.

        Raises TokenStale where the command's start-by time passed while it waited; so does the fence. A command that
        was delayed on its way would otherwise act after the lease that it belongs to has passed to another worker.
        """
        lock = self._lock_of(instance_id)
        if not lock.acquire(timeout=max(0.0, claims.expires - self._clock())):
            raise errors.TokenStale("The command expired while it waited for another command to this instance.")
        try:
            yield lambda: claims.must_not_be_expired(self._clock())
        finally:
            lock.release()

    def is_held(self, instance_id: str) -> bool:
        """Whether a command to this instance is under way, or to one that shares its lock."""
        return self._lock_of(instance_id).locked()

    def _lock_of(self, instance_id: str) -> threading.Lock:
        return self._locks[zlib.crc32(instance_id.encode()) % LOCKS]


class Containers:
    """Names are checked here: one that no managed container can have is NoSuchContainer.

    Methods that take claims check them again with the instance's lock held, and raise TokenStale.
    """

    def __init__(self, engine: Engine, images: Images, toolbox_id: str, locks: Locks) -> None:
        self._engine, self._images, self._toolbox_id, self._locks = engine, images, toolbox_id, locks

    def list_all(self, *, limits: bool = False) -> tuple[str, list[Listed]]:
        """The engine's id and all managed containers.

        One list suffices where a container is labelled with its engine's id. Otherwise the id is read after the list,
        so that the containers of an engine that is replaced meanwhile are not missed under the old engine's id.
        Containers that the engine remembers to have been updated are inspected for their limits; with `limits` all are.
        """
        entries = self._entries({})
        found = self._managed(entries)
        own_names = {f"/{item.name}" for item in found}
        engine_ids = {entry["Labels"].get(names.LABEL_ENGINE) for entry in entries if entry["Names"][0] in own_names}
        engine_id = engine_ids.pop() if len(engine_ids) == 1 else None
        to_inspect = {item.id for item in found} if limits else self._engine.updated()
        found = [self._with_limits(item) if item.id in to_inspect else item for item in found]
        return engine_id or self._engine.data_id(), found

    def inspect(self, name: str, claims: Claims) -> ActionResult:
        """Waits for a command to this instance that is under way: during a create it would report absence."""
        with self._locks.hold(_instance_id(name), claims):
            # Waited for and released: one inspect need not wait for another.
            pass
        return ActionResult(self.must_inspect(name)[1], changed=False)

    def create(self, body: Create, claims: Claims) -> ActionResult:
        """Raises NoSuchImage, WrongPlatform, OlderSpec, NameTaken, DiskFull."""
        name = names.container_name(body.instance_id, body.spec_generation)
        labels = {
            names.LABEL_TOOLBOX: self._toolbox_id,
            names.LABEL_INSTANCE: body.instance_id,
            names.LABEL_SPEC_GENERATION: str(body.spec_generation),
            names.LABEL_IMAGE_DIGEST: self._images.inspect(body.image).digest,
            names.LABEL_MEMORY: str(body.limits.memory_bytes),
            names.LABEL_ENGINE: self._engine.data_id(),
        }
        with self._locks.hold(body.instance_id, claims) as fence:
            entries = self._entries({names.LABEL_INSTANCE: body.instance_id})
            existing = self._managed(entries)
            if newer := [other.name for other in existing if other.spec_generation > body.spec_generation]:
                raise errors.OlderSpec(f"Container {newer[0]} was created from a newer spec generation.")
            fence()
            if name not in [other.name for other in existing]:
                for entry in entries:
                    # Somebody renamed the requested container by hand.
                    if spec.has_labels_of(entry, self._toolbox_id, body.instance_id, body.spec_generation):
                        self._engine.rename(entry["Id"], name)
                        return self._result(entry["Id"])
            try:
                container_id = self._engine.create(name, spec.engine_config(body, labels))
            except errors.NameTaken:
                return ActionResult(self._holder_of(name), changed=False)
            return self._result(container_id)

    def start(self, name: str, claims: Claims) -> ActionResult:
        """Raises StartFailed, PortTaken; the container then stays as it was."""
        with self.locked(name, claims) as before:
            if before.state in LIVE:
                return ActionResult(before, changed=False)
            self._engine.start(before.id)
            return self._result(before.id)

    def stop(self, name: str, timeout: int, claims: Claims) -> ActionResult:
        """`timeout`: seconds between SIGTERM and SIGKILL."""
        with self.locked(name, claims) as before:
            if before.state not in LIVE:
                return ActionResult(before, changed=False)
            self._engine.stop(before.id, timeout)
            return self._result(before.id)

    def restart(self, name: str, started_at: str, timeout: int, claims: Claims) -> ActionResult:
        """Only while the container's start is still the one at `started_at`. Raises StartFailed, PortTaken."""
        with self.locked(name, claims) as before:
            if before.started_at != started_at:
                return ActionResult(before, changed=False)
            self._engine.restart(before.id, timeout)
            return self._result(before.id)

    def remove(self, name: str, claims: Claims) -> ActionResult:
        """Stops a running container, removes it, and waits until it is gone: its name can then be used again."""
        with self._locks.hold(_instance_id(name), claims) as fence:
            before = self.find(name)
            if before is None:
                return ActionResult(None, changed=False)
            fence()
            container_id = before.id
            with suppress(errors.NoSuchContainer):
                if before.state in LIVE:
                    self._engine.stop(container_id, REMOVAL_STOP_SECONDS)
                self._engine.remove(container_id)
            deadline = time.monotonic() + REMOVED_WITHIN_SECONDS
            while after_act(lambda: self.find(container_id)):
                if time.monotonic() > deadline:
                    raise errors.OutcomeUnknown(
                        f"Container {name} is still being removed after {REMOVED_WITHIN_SECONDS:.0f} seconds."
                    )
                time.sleep(0.1)
            return ActionResult(None, changed=True)

    def must_inspect(self, name: str) -> tuple[dict[str, Any], Container]:
        """A managed container as the engine's JSON and as the contract's message. Raises NoSuchContainer."""
        _instance_id(name)
        found = self._engine.inspect(name)
        container = spec.container(found, self._toolbox_id) if found else None
        if not found or not container:
            raise errors.NoSuchContainer(f"This toolbox manages no container {name}.")
        return found, container

    def must_run(self, name: str) -> tuple[dict[str, Any], Container]:
        """The same, for a command that needs it to run. Raises NoSuchContainer, NotRunning."""
        found, container = self.must_inspect(name)
        require_running(container)
        return found, container

    def measure(self, name: str) -> dict[str, Any]:
        """The engine's figures of a running container. Takes two seconds. Raises NotRunning."""
        return self._engine.stats(self.must_run(name)[1].id)

    @contextmanager
    def locked(self, name: str, claims: Claims) -> Iterator[Container]:
        """The managed container, with its instance's lock held and the command not expired."""
        with self._locks.hold(_instance_id(name), claims) as fence:
            before = self.must_find(name)
            fence()
            yield before

    def find(self, reference: str) -> Container | None:
        """The container of that name or id, None where there is none."""
        found = self._engine.inspect(reference)
        return spec.container(found, self._toolbox_id) if found else None

    def must_find(self, reference: str) -> Container:
        """Raises NoSuchContainer."""
        container = self.find(reference)
        if container is None:
            raise errors.NoSuchContainer(f"This toolbox manages no container {reference}.")
        return container

    def _with_limits(self, item: Listed) -> Listed:
        container = self.find(item.id)
        return replace(item, limits=container.limits) if container else item

    def _entries(self, labels: dict[str, str]) -> list[dict[str, Any]]:
        return self._engine.containers({names.LABEL_TOOLBOX: self._toolbox_id, **labels})

    def _managed(self, entries: list[dict[str, Any]]) -> list[Listed]:
        return [item for item in (spec.listed(entry, self._toolbox_id) for entry in entries) if item]

    def _result(self, container_id: str) -> ActionResult:
        return ActionResult(after_act(lambda: self.must_find(container_id)), changed=True)

    def _holder_of(self, name: str) -> Container:
        """The container that has the name: a repeated create. Raises NameTaken where it is not managed."""
        container = self.find(name)
        if container is None:
            raise errors.NameTaken(f"A container that this toolbox does not manage has the name {name}.")
        if container.state in ("removing", "dead"):
            raise errors.Transient(f"The previous container {name} is still being removed.")
        return container


def after_act(look: Callable[[], T]) -> T:
    """The result of a look after an act. What cannot be seen then is unknown, and not undone."""
    try:
        return look()
    except errors.Transient as error:
        raise errors.OutcomeUnknown(f"The engine acted, but its result could not be read: {error.message}") from error


def require_running(container: Container) -> None:
    """Raises NotRunning."""
    if container.state != "running":
        raise errors.NotRunning(f"Container {container.name} is {container.state}.")


def _instance_id(name: str) -> str:
    """Raises NoSuchContainer for a name that no managed container can have."""
    match = names.CONTAINER_NAME.fullmatch(name)
    if match is None:
        raise errors.NoSuchContainer(f"{name[:100]!r} is not the name of a managed container.")
    return match["instance"]
