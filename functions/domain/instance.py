"""An instance: one managed container, as the account wants it and as Docker last reported it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from functions.domain.lease import Lease
from functions.domain.spec import Spec
from shim.protocol import container_name, messages

RUNNING_STATES = frozenset({"running", "restarting", "paused"})


class DesiredState(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class Status(StrEnum):
    """`status_on_toolbox`."""

    PENDING_DEPLOY = "pending_deploy"
    DEPLOYING = "deploying"
    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    ERROR_INSTALL = "error_install"
    ERROR_RUNTIME = "error_runtime"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What the account asked for. `generation` grows with each change, `spec_generation` with those of the spec.

    `restart_of`: a restart is wanted for as long as the container's `started_at` still is this.
    """

    state: DesiredState
    generation: int = 1
    spec_generation: int = 1
    restart_of: str | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen, and by trying learned. `at` is the time of the last sighting, None before the first.

    container    as last inspected; None: never seen, or gone
    gone         the engine said `no-such-container` when it was last asked
    uncertain    an act's outcome is unknown: look before acting again
    image_missing  the engine said that it lacks the image
    failure      this generation cannot be reached: nothing is tried again before the next
    trouble      the last attempt's passing obstacle
    generation   the generation that was reached, or given up with `failure`
    """

    container: messages.Container | None = None
    gone: bool = False
    at: datetime | None = None
    reachable: bool = True
    uncertain: bool = False
    image_missing: bool = False
    failure: Reason | None = None
    trouble: Reason | None = None
    generation: int = 0
    progress: messages.Progress | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the caller's catalogue says of the instance; kept and shown, never acted upon."""

    tool_catalog_id: str | None = None
    base_config_override: dict[str, Any] | None = None
    mcp_transport: str | None = None
    mcp_endpoint: str | None = None
    mcp_capabilities: Any = None


@dataclass(frozen=True, slots=True)
class Instance:
    """`revision` names the last commit, so that a worker knows its own. `due_at` is None once settled."""

    id: str
    toolbox_id: str
    account: str
    name: str
    spec: Spec
    desired: Desired
    created_at: datetime
    updated_at: datetime
    status: Status = Status.PENDING_DEPLOY
    observed: Observed = Observed()
    catalogue: Catalogue = field(default_factory=Catalogue)
    lease: Lease | None = None
    due_at: datetime | None = None
    attempts: int = 0
    revision: str = ""
    deleted_at: datetime | None = None
    expire_at: datetime | None = None

    @property
    def container_name(self) -> str:
        return container_name(self.id, self.desired.spec_generation)

    @property
    def settled(self) -> bool:
        return self.observed.generation == self.desired.generation


def want(instance: Instance, state: DesiredState) -> Instance:
    """Ask for `state`. A failure of the past stands no longer in its way: each asking is a new generation."""
    desired = replace(instance.desired, state=state, generation=instance.desired.generation + 1, restart_of=None)
    return replace(instance, desired=desired)


def want_restart(instance: Instance) -> Instance:
    """Ask for a restart, made level: it is wanted while the container still runs since the time seen now."""
    wanted = want(instance, DesiredState.RUNNING)
    container = instance.observed.container
    running_since = container.started_at if container and container.state in RUNNING_STATES else None
    return replace(wanted, desired=replace(wanted.desired, restart_of=running_since))


def derive_status(instance: Instance) -> Status:
    """The one word that the record shows for desired and observed together."""
    state, observed = instance.desired.state, instance.observed
    container = observed.container
    if state is DesiredState.DELETED:
        return Status.DELETING
    ever_ran = container is not None and container.started_at != ""
    if observed.failure and instance.settled:
        return Status.ERROR_RUNTIME if ever_ran else Status.ERROR_INSTALL
    if container is None:
        return Status.PENDING_DEPLOY if observed == Observed() else Status.DEPLOYING
    runs = container.state in RUNNING_STATES
    if state is DesiredState.STOPPED:
        return Status.STOPPING if runs else Status.STOPPED
    if runs and instance.desired.restart_of != container.started_at:
        return Status.RUNNING
    return Status.STARTING if ever_ran else Status.DEPLOYING
