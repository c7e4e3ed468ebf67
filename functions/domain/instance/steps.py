"""The steps of an instance's plan, each with its cause. A step is one call of the shim, and its data is complete.

Two steps call nothing and are a commit only: ReallocatePorts and RollBack.

functions/README.md, "How to change", says what a new step must touch.

Every step that changes a container is idempotent, because any of them may be repeated: a worker that dies after the
call leaves no record of it, and the next one decides from the same observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from functions.domain.instance.container import Port
from functions.domain.instance.spec import Mcp, Spec


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan; domain/plan.py says what `verb`, `slow`, `waits` and `resumable` mean.

    `may_start_late`: where its answer was lost, the command may still start until its start-by time.
    """

    verb: ClassVar[str]
    slow: ClassVar[bool] = False
    waits: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    may_start_late: ClassVar[bool] = False
    cause: str
    container: str

    @property
    def target(self) -> str:
        """What the step acts on: a container's name or an image."""
        return self.container


@dataclass(frozen=True, slots=True)
class Inspect(Step):
    """Observe the container."""

    verb = "inspect"


@dataclass(frozen=True, slots=True)
class AwaitHealth(Step):
    """Observe the container until it runs and its health check has a result."""

    verb, waits = "await the health of", True


@dataclass(frozen=True, slots=True)
class ProbeMcp(Step):
    """Call the MCP server in the container: `initialize`, then `tools/list`."""

    verb, waits = "probe MCP server in", True
    mcp: Mcp
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class PullImage(Step):
    """Pull the image of the spec."""

    verb, slow = "pull", True
    image: str

    @property
    def target(self) -> str:
        """The image."""
        return self.image


@dataclass(frozen=True, slots=True)
class CreateContainer(Step):
    """Create the container of a spec, without starting it."""

    verb, may_start_late = "create", True
    instance_id: str
    spec_generation: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class StartContainer(Step):
    """Start the container."""

    verb, may_start_late = "start", True


@dataclass(frozen=True, slots=True)
class StopContainer(Step):
    """Stop the container."""

    verb, may_start_late = "stop", True


@dataclass(frozen=True, slots=True)
class RestartContainer(Step):
    """Restart the container, unless it was started since `started_at`."""

    verb, may_start_late = "restart", True
    started_at: str


@dataclass(frozen=True, slots=True)
class RecordPostMortem(Step):
    """Store the container's last log lines before it is removed or started again. `exit_id` names this end of it."""

    verb = "record post-mortem of"
    exit_id: str


@dataclass(frozen=True, slots=True)
class RemoveContainer(Step):
    """Remove the container."""

    verb, may_start_late = "remove", True


@dataclass(frozen=True, slots=True)
class RollBack(Step):
    """Make the previous version the desired one again; `container` is the name of its container."""

    verb = "roll back to"


@dataclass(frozen=True, slots=True)
class ReallocatePorts(Step):
    """Choose other host ports than `ports`. The container is gone; the next has a new spec generation in its name."""

    verb = "reallocate host ports of"
    ports: tuple[Port, ...]
