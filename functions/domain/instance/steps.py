"""What is to be done, step by step, each with its cause. A step is one call of the shim, and its data is complete.

Two are no call but a commit: RedrawPorts and FallBack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from functions.domain.instance.container import Port
from functions.domain.instance.spec import Mcp, Spec


@dataclass(frozen=True, slots=True)
class Step:
    """`slow` steps may take minutes and are handed on to the queue's worker; `waits` ones may have to be repeated.

    `may_start_late`: where its answer was not heard it may still begin, until its start-by time.
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
        return self.container


@dataclass(frozen=True, slots=True)
class Inspect(Step):
    verb = "inspect"


@dataclass(frozen=True, slots=True)
class AwaitHealth(Step):
    verb, waits = "await health of", True


@dataclass(frozen=True, slots=True)
class ProbeMcp(Step):
    """The MCP handshake, `initialize` and `tools/list`, with the server in the container."""

    verb, waits = "shake hands with", True
    mcp: Mcp
    endpoint_id: str


@dataclass(frozen=True, slots=True)
class PullImage(Step):
    verb, slow = "pull", True
    image: str

    @property
    def target(self) -> str:
        return self.image


@dataclass(frozen=True, slots=True)
class CreateContainer(Step):
    verb, may_start_late = "create", True
    instance_id: str
    spec_generation: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class StartContainer(Step):
    verb, may_start_late = "start", True


@dataclass(frozen=True, slots=True)
class StopContainer(Step):
    verb, may_start_late = "stop", True


@dataclass(frozen=True, slots=True)
class RestartContainer(Step):
    verb, may_start_late = "restart", True
    started_at: str


@dataclass(frozen=True, slots=True)
class RecordPostMortem(Step):
    """The last log lines of a container, kept before it is removed or started again. `death` names its end."""

    verb = "keep post-mortem of"
    death: str


@dataclass(frozen=True, slots=True)
class RemoveContainer(Step):
    verb, may_start_late = "remove", True


@dataclass(frozen=True, slots=True)
class RollBack(Step):
    """The version before is wanted again; `container` is its."""

    verb = "fall back on"


@dataclass(frozen=True, slots=True)
class ReallocatePorts(Step):
    """Other host ports than `ports` for a container that is gone, and one of the next spec generation in its place."""

    verb = "draw other host ports for"
    ports: tuple[Port, ...]
