"""An instance: one container as the account desires it and as Docker last reported it, and the status of both together.

The status is derived from desired and observed state (condition.py) and never set by hand, so that it cannot contradict
either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from functions.domain.instance.container import Container, Port
from functions.domain.instance.spec import PullProgress, Spec
from functions.domain.lease import Lease
from functions.domain.secrets import Sealed
from shim.contract.names import container_name


class InstanceStatus(StrEnum):
    """The status as the frontend knows it."""

    PENDING_DEPLOY = "pending_deploy"
    DEPLOYING = "deploying"
    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR_INSTALL = "error_install"
    ERROR_RUNTIME = "error_runtime"
    DELETING = "deleting"


class IllegalMove(AssertionError):
    """A change of status that the rules exclude: a bug of this code, stopped before it is written."""


def may_become(before: InstanceStatus, after: InstanceStatus) -> bool:
    """Return whether an instance's status may change from `before` to `after`.

    Any container can be started, stopped, broken or removed between two observations, so almost every change is
    possible. Two are not: no instance becomes pending_deploy again, and none leaves deleting.
    """
    return after is before or (after is not InstanceStatus.PENDING_DEPLOY and before is not InstanceStatus.DELETING)


def check_move(before: InstanceStatus, after: InstanceStatus) -> None:
    """Raise IllegalMove unless the status may change from `before` to `after`."""
    if not may_become(before, after):
        raise IllegalMove(f"the status of an instance cannot change from {before} to {after}")


class DesiredState(StrEnum):
    """The state that the account desires. functions/README.md, "How to change", says what a new one must touch."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code for programs and a sentence for people."""

    code: str
    message: str


ACCOUNT_SUSPENDED = Reason(
    "account-suspended", "The account is suspended. The instance runs again once the account is resumed."
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the reconciler gave up on a generation. Nothing more is tried for it; the next generation starts afresh."""

    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Desired:
    """What the account requested.

    generation       grows with each request
    spec_generation  the generation that last changed the spec, plus `reallocations`, so that no number is used twice:
                     it names the container
    reallocations    how often the control plane chose other host ports, which changes the spec but nothing that the
                     account requested
    restart_after    a container whose `started_at` equals this is to be restarted, None if none is. A restart is thus
                     a condition that can be checked again after a crash rather than an event that can be lost or
                     repeated. "" stands for a container that has not started yet
    """

    state: DesiredState
    generation: int = 1
    spec_generation: int = 1
    reallocations: int = 0
    restart_after: str | None = None


@dataclass(frozen=True, slots=True)
class PreviousVersion:
    """The spec that an update replaces. Its container is kept until the new one is proven, to roll back to."""

    spec: Spec
    spec_generation: int


@dataclass(frozen=True, slots=True)
class RestartCount:
    """The engine's restart count at a time."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class McpServer:
    """What the MCP server answered to the probe, while its container ran with this `endpoint_id`."""

    tools_count: int
    tools_hash: str
    checked_at: datetime
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed, and what was learned from attempts. `exit_id` (condition.py) names one end of a container.

    container                  as last inspected; None: never observed, or gone
    absent                     the engine answered no-such-container when it was last asked
    at                         time of the last observation, None before the first
    reachable                  whether the shim answered when it was last called
    needs_inspection           the container may have changed unseen: inspect it before acting on it
    in_flight_until            a command whose answer was lost may still start; an earlier observation proves nothing
    image_missing              the engine answered that it lacks the image
    failure                    why a generation was given up
    obstacle                   why the last attempt got no further; the next attempt may
    generation                 the last generation that was reached or given up
    progress                   of the pull that is under way
    restarts                   the engine's restart counts of the last minutes, oldest first
    mcp                        what its MCP server answered
    requested_exit             exit_id of the end that the control plane requested
    post_mortem_of             exit_id of the end whose post-mortem is recorded
    refused_ports              allocated host ports that the engine refused, since the spec was requested or a container
                               of it last ran
    previous                   the container of the version that is being replaced
    previous_needs_inspection  as needs_inspection, for that container
    rollback_reason            why an update was given up, until the previous version is as desired
    """

    container: Container | None = None
    absent: bool = False
    at: datetime | None = None
    reachable: bool = True
    needs_inspection: bool = False
    in_flight_until: datetime | None = None
    image_missing: bool = False
    failure: Failure | None = None
    obstacle: Reason | None = None
    generation: int = 0
    progress: PullProgress | None = None
    restarts: list[RestartCount] = field(default_factory=list)
    mcp: McpServer | None = None
    requested_exit: str = ""
    post_mortem_of: str = ""
    refused_ports: list[Port] = field(default_factory=list)
    previous: Container | None = None
    previous_needs_inspection: bool = False
    rollback_reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """What the caller's catalogue says about the instance. It is stored and shown, and nothing acts on it.

    The two fields that may be any JSON are stored as its text: a document cannot hold every shape of JSON.
    """

    tool_catalog_id: str | None = None
    base_config_override_json: str | None = None
    mcp_transport: str | None = None
    mcp_endpoint: str | None = None
    mcp_capabilities_json: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance's document.

    previous_version  the version that an update replaces, None while none is
    lease             of the worker that acts on it
    due_at            when a worker is to continue; None once it is settled
    attempts          passes in a row that met an obstacle
    revision          names the last commit: a worker whose commit got no answer recognises its own by it
    deleted_at        when it became a tombstone, which is kept until `expire_at`
    suspended         its account is suspended, and so it is kept stopped, whatever is desired
    """

    id: str
    toolbox_id: str
    account: str
    name: str
    spec: Spec
    desired: Desired
    created_at: datetime
    updated_at: datetime
    status: InstanceStatus = InstanceStatus.PENDING_DEPLOY
    observed: Observed = field(default_factory=Observed)
    previous_version: PreviousVersion | None = None
    catalogue: CatalogEntry = field(default_factory=CatalogEntry)
    lease: Lease | None = None
    due_at: datetime | None = None
    attempts: int = 0
    revision: str = ""
    deleted_at: datetime | None = None
    expire_at: datetime | None = None
    suspended: bool = False

    @property
    def target_state(self) -> DesiredState:
        """The state to reach: the desired one, except that nothing of a suspended account runs."""
        if self.suspended and self.desired.state is DesiredState.RUNNING:
            return DesiredState.STOPPED
        return self.desired.state

    @property
    def container_name(self) -> str:
        """The name of the container of the present spec."""
        return container_name(self.id, self.desired.spec_generation)

    @property
    def previous_name(self) -> str | None:
        """The name of the previous version's container, None while there is no update."""
        return container_name(self.id, self.previous_version.spec_generation) if self.previous_version else None

    @property
    def settled(self) -> bool:
        """Whether the present generation was reached or given up."""
        return self.observed.generation == self.desired.generation

    @property
    def failure(self) -> Reason | None:
        """Why the present generation was given up, None where it was not."""
        failure = self.observed.failure
        return failure.reason if failure and failure.generation == self.desired.generation else None

    @property
    def status_reason(self) -> Reason | None:
        """Why the instance is not as the account desires it, None where it is."""
        suspended = self.target_state is not self.desired.state
        return self.failure or self.observed.obstacle or (ACCOUNT_SUSPENDED if suspended else None)

    @property
    def exited_container(self) -> Container | None:
        """The container where it has ended, None while it has not."""
        container = self.observed.container
        return container if container and container.state in ("exited", "dead") else None

    @property
    def mcp_transport(self) -> str | None:
        """The catalogue's word for the transport of its MCP server, else the only one that is probed."""
        return self.catalogue.mcp_transport or ("streamable-http" if self.spec.mcp else None)

    @property
    def mcp_path(self) -> str | None:
        """The catalogue's path of its MCP server, else the path that is probed."""
        return self.catalogue.mcp_endpoint or (self.spec.mcp.path if self.spec.mcp else None)


def mark_for_inspection(instance: Instance) -> Instance:
    """Have each of its containers inspected before anything else is done."""
    updating = instance.previous_version is not None
    observed = replace(instance.observed, needs_inspection=True, previous_needs_inspection=updating)
    return replace(instance, observed=observed)


# A rotation: new values for an instance's secret variables, which wait until they can be applied.


@dataclass(frozen=True, slots=True)
class Rotation:
    """`waiting` are the values that are not applied yet, encrypted; None while there are none.

    `times` says of each variable when its newest value was issued, also after it was applied: a message that comes
    late must not bring an older value back. `due_at` is set while values wait.
    """

    instance_id: str
    times: dict[str, datetime]
    waiting: Sealed | None
    due_at: datetime | None
    revision: str
    expire_at: datetime


def newer_values(rotation: Rotation | None, values: Mapping[str, str], issued_at: datetime) -> dict[str, str]:
    """Return those of `values` that are not older than the newest value of their variable."""
    times = rotation.times if rotation else {}
    return {name: value for name, value in values.items() if name not in times or times[name] <= issued_at}
