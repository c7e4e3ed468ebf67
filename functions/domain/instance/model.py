"""`status_on_toolbox`: the one word for desired and observed together, and the only moves that it can make."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from functions.domain.instance.container import Container, Port
from functions.domain.instance.image import PullProgress
from functions.domain.instance.spec import Spec
from functions.domain.lease import Lease
from shim.contract.names import container_name


class InstanceStatus(StrEnum):
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
    """A move that the table does not know: a bug, stopped before it is written."""


_ALIVE = frozenset(InstanceStatus) - {InstanceStatus.PENDING_DEPLOY}
# From each status to those that may follow it; staying is always possible. Whatever was seen can be gone a moment
# later, so the living ones reach each other; nothing is new twice, and nothing comes back from deleting.
MOVES: dict[InstanceStatus, frozenset[InstanceStatus]] = {
    InstanceStatus.PENDING_DEPLOY: _ALIVE,
    InstanceStatus.DEPLOYING: _ALIVE,
    InstanceStatus.RUNNING: _ALIVE,
    InstanceStatus.STARTING: _ALIVE,
    InstanceStatus.STOPPING: _ALIVE,
    InstanceStatus.STOPPED: _ALIVE,
    InstanceStatus.ERROR_INSTALL: _ALIVE,
    InstanceStatus.ERROR_RUNTIME: _ALIVE,
    InstanceStatus.DELETING: frozenset(),
}


def check_move(before: InstanceStatus, after: InstanceStatus) -> None:
    """Raises IllegalMove."""
    if after is not before and after not in MOVES[before]:
        raise IllegalMove(f"{before} cannot become {after}")


# An instance: one managed container, as the account wants it and as Docker last reported it.


class DesiredState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code and a sentence."""

    code: str
    message: str


ACCOUNT_SUSPENDED = Reason("account-suspended", "the account is suspended; once it is resumed this will run again")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a generation was given up: nothing more is tried for it, and the next one starts afresh."""

    generation: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Desired:
    """What the account asked for. `generation` grows with each change.

    `spec_generation` is the generation at which the spec last changed, plus `reallocations`: how often the control
    plane chose other host ports, which changes the spec but not what the account asked for. No number is used twice.
    `restart_after`: a start later than this one of the container's is wanted ("": any), which makes a restart, an edge,
    a level.
    """

    state: DesiredState
    generation: int = 1
    spec_generation: int = 1
    reallocations: int = 0
    restart_after: str | None = None


@dataclass(frozen=True, slots=True)
class PreviousVersion:
    """A spec that has a container already: what an update replaces, and falls back on."""

    spec: Spec
    spec_generation: int


@dataclass(frozen=True, slots=True)
class RestartCount:
    """The engine's restart count at a time."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class McpServer:
    """What the server offered when it was asked, while it ran under `endpoint_id`."""

    tools_count: int
    tools_hash: str
    checked_at: datetime
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen, and by trying learned. `at` is the time of the last sighting, None before the first.

    container      as last inspected; None: never seen, or gone
    gone           the engine said `no-such-container` when it was last asked
    needs_inspection      something may have happened unseen to the container: look before acting
    in_flight_until  a command whose answer was not heard may still begin; what is seen before that proves nothing
    image_missing  the engine said that it lacks the image
    trouble        the last attempt's passing obstacle
    generation     the generation that was reached, or given up with `failure`
    restarts       the engine's restart counts of the last minutes, oldest first
    stopped        the death (see `death`) that this side asked for
    kept           the death whose post-mortem is kept
    taken          drawn host ports that the engine refused, since the spec was asked for or a container of it ran
    previous       the container of the version that is being replaced, `previous_needs_inspection` as for the other one
    rollback_reason      why an update was given up, until the version before is as it is wanted
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
    """What the caller's catalogue says of the instance; kept and shown, never acted upon.

    The two that may be any JSON are kept as its text: a document cannot hold every shape of it.
    """

    tool_catalog_id: str | None = None
    base_config_override_json: str | None = None
    mcp_transport: str | None = None
    mcp_endpoint: str | None = None
    mcp_capabilities_json: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """`revision` names the last commit, so that a worker knows its own. `due_at` is None once settled.

    `suspended`: its account is, and so it is held stopped, whatever is desired.
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
        """What is to be made so: what is desired, but that nothing of a suspended account runs."""
        held = self.suspended and self.desired.state is DesiredState.RUNNING
        return DesiredState.STOPPED if held else self.desired.state

    @property
    def container_name(self) -> str:
        return container_name(self.id, self.desired.spec_generation)

    @property
    def previous_name(self) -> str | None:
        return container_name(self.id, self.previous_version.spec_generation) if self.previous_version else None

    @property
    def settled(self) -> bool:
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
    """What is on record of its containers may be out of date: each is to be looked at before anything is done."""
    replacing = instance.previous_version is not None
    return replace(
        instance, observed=replace(instance.observed, needs_inspection=True, previous_needs_inspection=replacing)
    )
