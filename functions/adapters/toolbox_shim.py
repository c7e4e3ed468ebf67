"""The lifecycle's typed interface to a shim, on top of a transport that sends the contract's messages.

Each method is one command of the contract. What goes out is converted from the domain's types to wire messages, and
what comes back the other way round, field by field: mypy then reports a field that one side lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from functions.adapters.shim_answers import identifier, time_of
from functions.domain.instance.container import (
    Container,
    ContainerConfig,
    ContainerLimits,
    ContainerStats,
    ExecCommand,
    ExecResult,
    HealthCheck,
    ListedContainer,
    LogLine,
    Logs,
    Port,
)
from functions.domain.instance.mcp import HttpRequest, HttpResponse
from functions.domain.instance.spec import DropletImage, PullProgress, RegistryCredentials, removable_references
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import DiskMetrics, DropletMetrics, MemoryMetrics, ShimStatus
from functions.lifecycle.dependencies import Lines
from shim.contract import messages, routes
from shim.contract.routes import Route

EMPTY = messages.Nothing()
A = TypeVar("A", bound=messages.Message)


class ShimTransport(Protocol):
    """Sends the contract's commands to one toolbox's shim and returns its answers as messages.

    Every method raises shim.contract.errors.ShimError, errors.ToolboxUnreachable and errors.ShimIncompatible.
    """

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: messages.Message = EMPTY,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        """Send one command and return the message that `route` answers with."""

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        """Return the shim's status and its ETag, None for the status where the ETag still is `unless`."""

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        """Pull an image and return what was pulled."""

    def follow(self, name: str, *, start_by: datetime, query: str) -> Lines[messages.FollowLine]:
        """Return a container's log as it grows."""


class ShimTransports(Protocol):
    """Finds the transport to a toolbox's shim."""

    def for_toolbox(self, toolbox: Toolbox) -> ShimTransport: ...


@dataclass(frozen=True, slots=True)
class ToolboxShims:
    """Implements lifecycle.dependencies.Shims."""

    transports: ShimTransports

    def for_toolbox(self, toolbox: Toolbox) -> ToolboxShim:
        """Return the shim of `toolbox`."""
        return ToolboxShim(self.transports.for_toolbox(toolbox))


@dataclass(frozen=True, slots=True)
class ToolboxShim:
    """Implements lifecycle.dependencies.Shim, which says what each method does."""

    transport: ShimTransport

    def create(self, config: ContainerConfig, *, start_by: datetime) -> Container | None:
        """See Shim.create."""
        return self._act(routes.CREATE, start_by, body=_create(config))

    def inspect(self, name: str, *, start_by: datetime) -> Container | None:
        """See Shim.inspect."""
        return self._act(routes.INSPECT, start_by, name)

    def start(self, name: str, *, start_by: datetime) -> Container | None:
        """See Shim.start."""
        return self._act(routes.START, start_by, name)

    def stop(self, name: str, *, start_by: datetime) -> Container | None:
        """See Shim.stop."""
        return self._act(routes.STOP, start_by, name, messages.Stop())

    def restart(self, name: str, *, started_at: str, start_by: datetime) -> Container | None:
        """See Shim.restart."""
        return self._act(routes.RESTART, start_by, name, messages.Restart(started_at))

    def remove(self, name: str, *, start_by: datetime) -> Container | None:
        """See Shim.remove."""
        return self._act(routes.REMOVE, start_by, name)

    def logs(
        self, name: str, *, tail: int, since: str | None = None, start_by: datetime, timeout: float | None = None
    ) -> Logs:
        """See Shim.logs."""
        query = _log_query(tail, since)
        answer = self._command(messages.Logs, routes.LOGS, start_by, name, query=query, within=timeout)
        return Logs([_log_line(line) for line in answer.lines], answer.truncated)

    def follow_logs(self, name: str, *, tail: int, since: str | None, start_by: datetime) -> Lines[LogLine | None]:
        """See Shim.follow_logs."""
        return _FollowedLines(self.transport.follow(name, start_by=start_by, query=_log_query(tail, since)))

    def stats(self, name: str, *, start_by: datetime) -> ContainerStats:
        """See Shim.stats."""
        return _stats(self._command(messages.Stats, routes.STATS, start_by, name))

    def execute(self, name: str, command: ExecCommand, *, start_by: datetime, timeout: float) -> ExecResult:
        """See Shim.execute."""
        body = messages.Execute(
            command=command.command,
            environment=command.environment,
            working_directory=command.working_directory,
            stdin=command.stdin,
            timeout=command.timeout,
        )
        answer = self._command(messages.Executed, routes.EXECUTE, start_by, name, body, within=timeout)
        return ExecResult(
            container=to_container(answer.container),
            exit_code=answer.exit_code,
            stdout=answer.stdout,
            stderr=answer.stderr,
            truncated=answer.truncated,
        )

    def http_request(self, name: str, request: HttpRequest, *, start_by: datetime) -> HttpResponse:
        """See Shim.http_request."""
        body = messages.Request(
            port=request.port,
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=request.body,
            timeout=request.timeout,
        )
        answer = self._command(messages.Response, routes.RELAY, start_by, name, body)
        return HttpResponse(answer.status, answer.headers, answer.body, answer.truncated)

    def pull(
        self,
        image: str,
        credentials: RegistryCredentials | None = None,
        *,
        start_by: datetime,
        on_progress: Callable[[PullProgress], None],
    ) -> None:
        """See Shim.pull."""
        login = messages.Credentials(credentials.username, credentials.password) if credentials else None
        self.transport.pull(
            messages.Pull(image, login),
            start_by=start_by,
            on_progress=lambda progress: on_progress(_pull_progress(progress)),
        )

    def prune_images(self, keep: list[str], *, start_by: datetime) -> list[str]:
        """See Shim.prune_images."""
        listed = self._command(messages.Images, routes.IMAGES, start_by).images
        unused = removable_references([DropletImage(image.references, image.used) for image in listed], keep)
        if not unused:
            return []
        body = messages.RemoveImages(unused)
        return self._command(messages.RemovedImages, routes.REMOVE_IMAGES, start_by, body=body).removed

    def list_containers(
        self, *, start_by: datetime, etag: str = "", with_limits: bool = False
    ) -> tuple[ShimStatus | None, str]:
        """See Shim.list_containers."""
        status, present = self.transport.status(start_by=start_by, unless=etag, limits=with_limits)
        return _status(status) if status else None, present

    def status(self, *, start_by: datetime, timeout: float) -> ShimStatus:
        """See Shim.status."""
        return _status(self._command(messages.Status, routes.STATUS, start_by, query="metrics=1", within=timeout))

    def upgrade(self, image: str, *, start_by: datetime) -> None:
        """See Shim.upgrade."""
        self._command(messages.Upgrading, routes.UPGRADE, start_by, body=messages.Upgrade(image))

    def restart_shim(self, *, start_by: datetime, timeout: float) -> None:
        """See Shim.restart_shim."""
        self._command(messages.Restarting, routes.RESTART_SHIM, start_by, within=timeout)

    def _act(
        self, route: Route, start_by: datetime, name: str = "", body: messages.Message = EMPTY
    ) -> Container | None:
        answer = self._command(messages.ActionResult, route, start_by, name, body)
        return to_container(answer.container) if answer.container else None

    def _command(
        self,
        answer_type: type[A],
        route: Route,
        start_by: datetime,
        name: str = "",
        body: messages.Message = EMPTY,
        query: str = "",
        within: float | None = None,
    ) -> A:
        answer = self.transport.command(route, start_by=start_by, name=name, body=body, query=query, within=within)
        assert isinstance(answer, answer_type)
        return answer


class _FollowedLines:
    """Implements lifecycle.dependencies.Lines over the transport's lines."""

    def __init__(self, lines: Lines[messages.FollowLine]) -> None:
        self._lines = lines

    def __iter__(self) -> _FollowedLines:
        return self

    def __next__(self) -> LogLine | None:
        line = next(self._lines).line
        return _log_line(line) if line else None

    def close(self) -> None:
        self._lines.close()


# From the domain to the wire.


def _create(config: ContainerConfig) -> messages.Create:
    check = config.health_check
    return messages.Create(
        instance_id=config.instance_id,
        spec_generation=config.spec_generation,
        image=config.image,
        limits=messages.Limits(config.limits.memory_bytes, config.limits.nano_cpus, config.limits.pids),
        command=config.command,
        environment=config.environment,
        ports=[
            messages.Port(port.container_port, port.host_port, port.protocol, port.host_ip) for port in config.ports
        ],
        volumes=[messages.Volume(volume.name, volume.path) for volume in config.volumes],
        restart_policy=config.restart_policy,
        health_check=_health_check(check) if check else None,
        init=config.init,
    )


def _port_message(port: Port) -> messages.Port:
    return messages.Port(port.container_port, port.host_port, port.protocol, port.host_ip)


def _health_check(check: HealthCheck) -> messages.HealthCheck:
    return messages.HealthCheck(
        command=check.command,
        interval=check.interval,
        timeout=check.timeout,
        retries=check.retries,
        start_period=check.start_period,
    )


def _log_query(tail: int, since: str | None) -> str:
    return urlencode({"tail": tail} | ({"since": since} if since else {}))


# From the wire to the domain.


def to_container(container: messages.Container) -> Container:
    """Convert an inspected container to the domain's type."""
    return Container(
        id=container.id,
        name=container.name,
        instance_id=container.instance_id,
        spec_generation=container.spec_generation,
        state=container.state,
        health=container.health,
        exit_code=container.exit_code,
        oom_killed=container.oom_killed,
        error=container.error,
        started_at=time_of(container.started_at),
        finished_at=time_of(container.finished_at),
        restart_count=container.restart_count,
        image=container.image,
        image_digest=container.image_digest,
        ports=[_port(port) for port in container.ports],
        environment_names=container.environment_names,
        limits=_limits(container.limits),
        endpoint_id=container.endpoint_id,
    )


def _listed_container(listed: messages.Listed) -> ListedContainer:
    return ListedContainer(
        id=listed.id,
        name=listed.name,
        instance_id=listed.instance_id,
        spec_generation=listed.spec_generation,
        state=listed.state,
        health=listed.health,
        endpoint_id=listed.endpoint_id,
        memory_bytes=listed.memory_bytes,
        limits=_limits(listed.limits) if listed.limits else None,
    )


def _port(port: messages.Port) -> Port:
    return Port(port.container_port, port.host_port, port.protocol, port.host_ip)


def _limits(limits: messages.Limits) -> ContainerLimits:
    return ContainerLimits(limits.memory_bytes, limits.nano_cpus, limits.pids)


def _log_line(line: messages.LogLine) -> LogLine:
    return LogLine(time_of(line.time), line.stream, line.text)


def _stats(stats: messages.Stats) -> ContainerStats:
    return ContainerStats(
        time=stats.time,
        cpu_percent=stats.cpu_percent,
        cpu_seconds=stats.cpu_seconds,
        memory_used_bytes=stats.memory_used_bytes,
        memory_limit_bytes=stats.memory_limit_bytes,
        pids=stats.pids,
        network_received_bytes=stats.network_received_bytes,
        network_sent_bytes=stats.network_sent_bytes,
        disk_read_bytes=stats.disk_read_bytes,
        disk_written_bytes=stats.disk_written_bytes,
    )


def _pull_progress(progress: messages.Progress) -> PullProgress:
    return PullProgress(
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        layers_done=progress.layers_done,
        layers_total=progress.layers_total,
    )


def _status(status: messages.Status) -> ShimStatus:
    return ShimStatus(
        version=identifier(status.version),
        contract=status.contract,
        engine_id=identifier(status.engine_id),
        complete=status.complete,
        containers=[_listed_container(listed) for listed in status.containers],
        metrics=_metrics(status.metrics) if status.metrics else None,
        shim_image=status.shim_image,
        started_at=status.started_at,
    )


def _metrics(metrics: messages.Metrics) -> DropletMetrics:
    memory, disk = metrics.memory, metrics.disk
    return DropletMetrics(
        engine_version=identifier(metrics.engine_version),
        cpu_load_percent=metrics.cpu_load_percent,
        memory=MemoryMetrics(memory.total_bytes, memory.active_bytes, memory.free_bytes, memory.used_bytes),
        disk=DiskMetrics(disk.mount, disk.total_bytes, disk.used_bytes, disk.free_bytes),
    )
