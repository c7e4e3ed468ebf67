"""What is to be done, step by step, each with its cause. A step is one call of the shim, and its data is complete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from functions.domain.spec import Spec


@dataclass(frozen=True, slots=True)
class Step:
    """`slow` steps may take minutes and are handed on to the queue's worker."""

    verb: ClassVar[str]
    slow: ClassVar[bool] = False
    cause: str
    container: str


@dataclass(frozen=True, slots=True)
class Inspect(Step):
    verb = "inspect"


@dataclass(frozen=True, slots=True)
class PullImage(Step):
    verb, slow = "pull", True
    image: str

    def __str__(self) -> str:
        return f"{self.verb} {self.image}: {self.cause}"


@dataclass(frozen=True, slots=True)
class CreateContainer(Step):
    verb = "create"
    instance_id: str
    spec_generation: int
    spec: Spec


@dataclass(frozen=True, slots=True)
class StartContainer(Step):
    verb = "start"


@dataclass(frozen=True, slots=True)
class StopContainer(Step):
    verb = "stop"


@dataclass(frozen=True, slots=True)
class RestartContainer(Step):
    verb = "restart"
    started_at: str


@dataclass(frozen=True, slots=True)
class RemoveContainer(Step):
    verb = "remove"


@dataclass(frozen=True, slots=True)
class Plan:
    """No steps: nothing is left to do. Later steps are what will follow if the earlier ones see what they should."""

    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        lines = (str(s) if isinstance(s, PullImage) else f"{s.verb} {s.container}: {s.cause}" for s in self.steps)
        return "\n".join(lines) or "nothing to do"
