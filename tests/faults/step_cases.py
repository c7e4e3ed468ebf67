"""Every kind of step of a plan, with the state that it needs, to be executed twice on any shim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from functions.domain.instance import steps
from functions.domain.instance.condition import exit_id
from functions.domain.instance.container import Container
from functions.domain.instance.model import Desired, DesiredState, Failure, Instance, Observed, Reason
from functions.domain.instance.request import request_spec
from functions.domain.instance.spec import Mcp, Spec, container_config
from functions.lifecycle.dependencies import Dependencies, Shim, Write
from functions.lifecycle.instance.execute import execute
from shim.contract import names
from tests.fakes.world import World

ID = "22222222-2222-4222-8222-222222222222"
NAME = names.container_name(ID, 1)
WHY = "a test"

Make = Callable[[Container | None, Spec], steps.Step]


@dataclass(frozen=True)
class StepCase:
    """How to bring about a step.

    Attributes:
        before: The shim's commands that are called before the step.
        step: Makes the step from the container that these commands leave.
        update_failed: Whether that container is the previous version of an update that failed.
    """

    before: tuple[str, ...]
    step: Make
    update_failed: bool = False


CREATED, RUNNING = ("create",), ("create", "start")
EXITED = (*RUNNING, "stop")


def _plain(kind: type[steps.Step]) -> Make:
    return lambda container, spec: kind(WHY, NAME)


def _restart(container: Container | None, spec: Spec) -> steps.Step:
    assert container
    return steps.RestartContainer(WHY, NAME, container.started_at)


def _probe_mcp(container: Container | None, spec: Spec) -> steps.Step:
    assert container
    return steps.ProbeMcp(WHY, NAME, Mcp(3000, "/mcp"), container.endpoint_id)


def _record_post_mortem(container: Container | None, spec: Spec) -> steps.Step:
    assert container
    return steps.RecordPostMortem(WHY, NAME, exit_id(container))


STEP_CASES: dict[str, StepCase] = {
    "inspect": StepCase(RUNNING, _plain(steps.Inspect)),
    "inspect-nothing": StepCase((), _plain(steps.Inspect)),
    "await-health": StepCase(RUNNING, _plain(steps.AwaitHealth)),
    "probe-mcp": StepCase(RUNNING, _probe_mcp),
    "pull": StepCase((), lambda container, spec: steps.PullImage(WHY, NAME, spec.image)),
    "create": StepCase((), lambda container, spec: steps.CreateContainer(WHY, NAME, ID, 1, spec)),
    "start": StepCase(CREATED, _plain(steps.StartContainer)),
    "start-again": StepCase(EXITED, _plain(steps.StartContainer)),
    "stop": StepCase(RUNNING, _plain(steps.StopContainer)),
    "stop-unstarted": StepCase(CREATED, _plain(steps.StopContainer)),
    "restart": StepCase(RUNNING, _restart),
    "restart-stopped": StepCase(EXITED, _restart),
    "record-post-mortem": StepCase(EXITED, _record_post_mortem),
    "roll-back": StepCase(EXITED, _plain(steps.RollBack), update_failed=True),
    "reallocate-ports": StepCase((), lambda container, spec: steps.ReallocatePorts(WHY, NAME, tuple(spec.allocated))),
    "remove": StepCase(EXITED, _plain(steps.RemoveContainer)),
    "remove-running": StepCase(RUNNING, _plain(steps.RemoveContainer)),
    "remove-nothing": StepCase((), _plain(steps.RemoveContainer)),
}


@dataclass(frozen=True)
class PreparedStep:
    """A step case prepared on a shim. Each `run` is a worker that knows nothing of a previous run."""

    shim: Shim
    instance: Instance
    step: steps.Step
    now: datetime

    @property
    def deps(self) -> Dependencies:
        return replace(World().deps, now=lambda: self.now)

    def run(self) -> tuple[Instance, list[Write]]:
        return execute(self.step, self.shim, self.instance, _by(self.now), self.deps, lambda progress: None)


def prepared(case: StepCase, shim: Shim, spec: Spec, now: datetime) -> PreparedStep:
    container: Container | None = None
    for verb in case.before:
        if verb == "create":
            container = shim.create(container_config(ID, 1, spec, {}), start_by=_by(now))
        else:
            container = getattr(shim, verb)(NAME, start_by=_by(now))
    instance = Instance(
        id=ID,
        toolbox_id="t",
        account="a",
        name="n",
        spec=spec,
        desired=Desired(DesiredState.RUNNING),
        created_at=now,
        updated_at=now,
        observed=Observed(container),
    )
    return PreparedStep(
        shim, _with_failed_update(instance) if case.update_failed else instance, case.step(container, spec), now
    )


def _with_failed_update(instance: Instance) -> Instance:
    failed = Observed(
        absent=True, previous=instance.observed.container, failure=Failure(2, Reason("start-failed", WHY))
    )
    requested = request_spec(instance, instance.spec)
    return replace(requested, observed=failed)


def _by(now: datetime) -> datetime:
    return now + timedelta(seconds=20)
