"""A droplet in memory: the shim and its engine.

It behaves as the tests in tests/shim measure the real ones: commands are idempotent, a second create of a name returns
the same container, creating needs the image. A test can make a command fail before it takes effect or after, and can
make the droplet unreachable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from functions.domain.errors import ToolboxUnreachable
from functions.domain.instance.container import LIVE_STATES
from functions.domain.toolbox.model import Toolbox
from shim.contract import errors as shim_errors
from shim.contract import messages, names, routes
from shim.contract.routes import Route
from tests.fakes.shim import NOTHING, verb_of

IMAGE = "registry.test/server:1"


@dataclass
class Fault:
    """Raised at the next command of `route` (None: any), before it takes effect or `after`."""

    error: Exception
    route: Route | None = None
    after: bool = False


@dataclass
class FakeLines:
    """A followed log: each item of `rest` is a line, or an error to raise in its place."""

    rest: list[messages.FollowLine | Exception]
    closed: bool = False

    def __iter__(self) -> FakeLines:
        return self

    def __next__(self) -> messages.FollowLine:
        if not self.rest:
            raise StopIteration
        line = self.rest.pop(0)
        if isinstance(line, Exception):
            raise line
        return line

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeDroplet:
    now: Callable[[], datetime]
    engine_id: str = "engine-1"
    images: set[str] = field(default_factory=lambda: {IMAGE})
    registry: dict[str, Exception | None] = field(default_factory=dict)
    containers: dict[str, messages.Container] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    reachable: bool = True
    before_command: Callable[[Route, str], None] | None = None
    partial: bool = False
    # The only line of every container's log.
    log_text: str = "ready"
    # The environment that each container was created with, as its image could print it.
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    # The answer of an execution; None answers with its environment and input.
    execution: messages.Executed | None = None
    executed: list[messages.Execute] = field(default_factory=list)
    pulled_as: list[messages.Credentials | None] = field(default_factory=list)
    logs_fail: bool = False
    shim_image: str | None = None
    failing_shim_images: set[str] = field(default_factory=set)
    # The lines that a follower of any log receives.
    log: list[messages.FollowLine | Exception] = field(default_factory=list)
    lines: FakeLines | None = None
    # Ids of containers with an `update` event that the engine still remembers.
    edited: set[str] = field(default_factory=set)
    memory_bytes: int = 8 << 30
    disk: messages.Disk = field(default_factory=lambda: messages.Disk("/", 50 << 30, 20 << 30, 30 << 30))
    # The health of a running container at the next inspects, in order.
    health: list[str] = field(default_factory=list)
    mcp: Callable[[messages.Request], messages.Response] | None = None
    # Host ports in use by another process on the droplet, or leaked by the engine.
    held_ports: set[int] = field(default_factory=set)
    # The start time of the shim's process, and whether a restart command restarts it.
    shim_started_at: float = 1.0
    restart_works: bool = True
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    # toolbox_shim.ShimTransports and ShimTransport in one: every toolbox is this droplet.
    def for_toolbox(self, toolbox: Toolbox) -> FakeDroplet:
        return self

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: Any = NOTHING,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        self._arrive(route, name, start_by)
        answer = getattr(self, f"_{verb_of(route)}")(name, body)
        self._leave(route)
        return answer

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        status = self.command(routes.STATUS, start_by=start_by, body=limits)
        etag = str(hash((status.engine_id, *status.containers)))
        return (None if etag == unless else status), etag

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        self._arrive(routes.PULL, body.image, start_by)
        self.pulled_as.append(body.credentials)
        if body.image not in self.registry:
            raise shim_errors.ImageUnavailable(f"manifest for {body.image} not found: manifest unknown")
        on_progress(messages.Progress(bytes_done=1, bytes_total=2, layers_done=0, layers_total=1))
        if error := self.registry[body.image]:
            raise error
        self.images.add(body.image)
        self._leave(routes.PULL)
        return messages.Image("sha256:" + "1" * 64, "sha256:" + "2" * 64, 2)

    def follow(self, name: str, *, start_by: datetime, query: str) -> FakeLines:
        self._arrive(routes.FOLLOW, name, start_by)
        self._found(name)
        return self.lines or FakeLines(self.log)

    def running(self) -> list[str]:
        return [c.name for c in self.containers.values() if c.state == "running"]

    def die(self, name: str, *, exit_code: int = 1, oom: bool = False) -> None:
        at = self._tick()
        dead = replace(self.containers[name], state="exited", exit_code=exit_code, oom_killed=oom, finished_at=at)
        self.containers[name] = dead

    def crash(self, name: str, *, restarts: int, exit_code: int = 1, state: str = "restarting") -> None:
        """Let the container crash and the engine restart it."""
        was = self.containers[name]
        at = self._tick()
        self.containers[name] = replace(
            was,
            state=state,
            restart_count=was.restart_count + restarts,
            exit_code=exit_code,
            started_at=at,
            finished_at=at,
            endpoint_id=at,
        )

    def _tick(self) -> str:
        """Return the time in Docker's format, different at every call."""
        return f"{self.now():%Y-%m-%dT%H:%M:%S}.{next(self._ids):09d}Z"

    def _arrive(self, route: Route, name: str, start_by: datetime) -> None:
        if self.before_command:
            self.before_command(route, name)
        if not self.reachable:
            raise ToolboxUnreachable("the toolbox cannot be reached: connection refused")
        self.calls.append(f"{route.method} {route.target(name)}")
        if self.now() > start_by:
            raise shim_errors.TokenStale("the command's start-by time has passed")
        self._fail(route, after=False)

    def _leave(self, route: Route) -> None:
        self._fail(route, after=True)

    def _fail(self, route: Route, *, after: bool) -> None:
        for fault in self.faults:
            if fault.after is after and fault.route in (None, route):
                self.faults.remove(fault)
                raise fault.error

    def _found(self, name: str) -> messages.Container:
        if name not in self.containers:
            raise shim_errors.NoSuchContainer(f"there is no container {name}")
        return self.containers[name]

    def _create(self, _: str, body: messages.Create) -> messages.ActionResult:
        name = names.container_name(body.instance_id, body.spec_generation)
        if any(
            c.instance_id == body.instance_id and c.spec_generation > body.spec_generation
            for c in self.containers.values()
        ):
            raise shim_errors.OlderSpec("a container of a newer spec generation exists")
        if name in self.containers:
            return messages.ActionResult(self.containers[name], changed=False)
        if body.image not in self.images:
            raise shim_errors.NoSuchImage(f"no such image: {body.image}")
        made = messages.Container(
            id=f"{next(self._ids):064x}",
            name=name,
            instance_id=body.instance_id,
            spec_generation=body.spec_generation,
            state="created",
            health=None,
            exit_code=0,
            oom_killed=False,
            error="",
            started_at="",
            finished_at="",
            restart_count=0,
            image=body.image,
            image_digest="sha256:" + "2" * 64,
            ports=body.ports,
            environment_names=sorted(body.environment),
            limits=body.limits,
            endpoint_id="",
        )
        self.containers[name] = made
        self.environments[name] = body.environment
        return messages.ActionResult(made, changed=True)

    def _inspect(self, name: str, _: Any) -> messages.ActionResult:
        found = self._found(name)
        if found.state == "running" and self.health:
            found = self.containers[name] = replace(found, health=self.health.pop(0))
        return messages.ActionResult(found, changed=False)

    def _start(self, name: str, _: Any) -> messages.ActionResult:
        container = self._found(name)
        if container.state == "running":
            return messages.ActionResult(container, changed=False)
        self._bind(container)
        return messages.ActionResult(self._started(container), changed=True)

    def _bind(self, container: messages.Container) -> None:
        for port in container.ports:
            if port.host_port in self.held_ports:
                why = f"Bind for 0.0.0.0:{port.host_port} failed: port is already allocated"
                raise shim_errors.PortTaken(f"the engine says: driver failed programming external connectivity: {why}")

    def _started(self, container: messages.Container) -> messages.Container:
        at = self._tick()
        started = replace(
            container,
            state="running",
            started_at=at,
            exit_code=0,
            endpoint_id=f"endpoint-{at}",
            restart_count=0,
            oom_killed=False,
            health="starting" if self.health else None,
        )
        self.containers[container.name] = started
        return started

    def _stop(self, name: str, _: Any) -> messages.ActionResult:
        container = self._found(name)
        live = container.state in LIVE_STATES
        if live:
            self.die(name, exit_code=container.exit_code or 143)
        return messages.ActionResult(self.containers[name], changed=live)

    def _restart(self, name: str, body: messages.Restart) -> messages.ActionResult:
        container = self._found(name)
        if container.started_at != body.started_at:
            return messages.ActionResult(container, changed=False)
        if container.state in LIVE_STATES:
            self.die(name, exit_code=143)
        self._bind(container)
        return messages.ActionResult(self._started(container), changed=True)

    def _remove(self, name: str, _: Any) -> messages.ActionResult:
        return messages.ActionResult(None, changed=self.containers.pop(name, None) is not None)

    def _logs(self, name: str, _: Any) -> messages.Logs:
        self._found(name)
        if self.logs_fail:
            raise shim_errors.EngineUnavailable("the engine does not answer")
        return messages.Logs(
            [messages.LogLine("2026-01-01T00:00:00.000000001Z", "stdout", self.log_text)], truncated=False
        )

    def _request(self, name: str, body: messages.Request) -> messages.Response:
        if self._found(name).state != "running" or self.mcp is None:
            raise shim_errors.NotAnswering("connection refused")
        return self.mcp(body)

    def _execute(self, name: str, body: messages.Execute) -> messages.Executed:
        container = self._found(name)
        if container.state != "running":
            raise shim_errors.NotRunning("it does not run")
        self.executed.append(body)
        return self.execution or messages.Executed(container, 0, f"{body.stdin}{body.environment}", "", truncated=False)

    def _stats(self, name: str, _: Any) -> messages.Stats:
        if self._found(name).state != "running":
            raise shim_errors.NotRunning("it does not run")
        return messages.Stats("2026-01-01T00:00:00Z", 1.5, 2.5, 3, 4, 5, 6, 7, 8, 9)

    def _restart_shim(self, _: str, __: Any) -> messages.Restarting:
        before = self.shim_started_at
        self.shim_started_at += 1 if self.restart_works else 0
        return messages.Restarting(before)

    def _images(self, _: str, __: Any) -> messages.Images:
        used, digest = {container.image for container in self.containers.values()}, "@sha256:" + "2" * 64
        references = {image: [image, image.rpartition(":")[0] + digest] for image in sorted(self.images)}
        return messages.Images([messages.ListedImage(i, names, 1, i in used) for i, names in references.items()])

    def _remove_images(self, _: str, body: messages.RemoveImages) -> messages.RemovedImages:
        removed = self.images & set(body.references)
        self.images -= removed
        return messages.RemovedImages(sorted(removed), freed_bytes=0)

    def _upgrade(self, _: str, body: messages.Upgrade) -> messages.Upgrading:
        if body.image not in self.images:
            raise shim_errors.NoSuchImage(f"no such image: {body.image}")
        # A new shim that does not serve is rolled back.
        if body.image not in self.failing_shim_images:
            self.shim_image = body.image
        return messages.Upgrading(body.image)

    def _status(self, _: str, limits: Any) -> messages.Status:
        listed = [
            messages.Listed(
                c.id,
                c.name,
                c.instance_id,
                c.spec_generation,
                c.state,
                c.health,
                c.endpoint_id,
                c.limits.memory_bytes,
                c.limits if limits is True or c.id in self.edited else None,
            )
            for c in self.containers.values()
        ]
        metrics = messages.Metrics("20.10.24", 12.5, messages.Memory(self.memory_bytes, 1, 5, 3), self.disk)
        return messages.Status(
            "1.0.0",
            routes.CONTRACT,
            self.engine_id,
            not self.partial,
            [] if self.partial else listed,
            metrics,
            self.shim_image,
            self.shim_started_at,
        )
