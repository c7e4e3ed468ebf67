"""A plan: what is to be done, step by step, each step with its cause, so that a plan can be printed and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class PlannedStep(Protocol):
    """A step of any plan: what is done, to what, and why.

    slow       may take minutes: a request hands it over to the queue's worker
    waits      observes something that may take time: the reconciler repeats it until the plan changes
    resumable  does as much as there is time for, and is repeated until it is complete
    """

    @property
    def verb(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def cause(self) -> str: ...

    @property
    def slow(self) -> bool: ...

    @property
    def waits(self) -> bool: ...

    @property
    def resumable(self) -> bool: ...


S = TypeVar("S", bound=PlannedStep)
S_co = TypeVar("S_co", bound=PlannedStep, covariant=True)


@dataclass(frozen=True, slots=True)
class Plan(Generic[S_co]):
    """No steps: nothing is left to do. Later steps follow if the earlier ones observe what they should."""

    steps: tuple[S_co, ...] = ()

    def __str__(self) -> str:
        return "\n".join(f"{step.verb} {step.target}: {step.cause}" for step in self.steps) or "nothing to do"
