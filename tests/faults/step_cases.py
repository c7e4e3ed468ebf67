"""Every step of a plan with what it needs to stand on, to be run once and once more on any shim."""

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
class Scene:
    """`before`: the verbs of the shim that are called before the step, which is made of the container that this leaves.

    `updated`: that is the version before of one that was given up.
    """

    before: tuple[str, ...]
    step: Make
    updated: bool = False


CREATED, RUNNING = ("create",), ("create", "start")
EXITED = (*RUNNING, "stop")


def _of(kind: type[steps.Step]) -> Make:
    return lambda seen, spec: kind(WHY, NAME)


def _restart(seen: Container | None, spec: Spec) -> steps.Step:
    assert seen
    return steps.RestartContainer(WHY, NAME, seen.started_at)


def _shake_hands(seen: Container | None, spec: Spec) -> steps.Step:
    assert seen
    return steps.ProbeMcp(WHY, NAME, Mcp(3000, "/mcp"), seen.endpoint_id)


def _keep(seen: Container | None, spec: Spec) -> steps.Step:
    assert seen
    return steps.RecordPostMortem(WHY, NAME, exit_id(seen))


SCENES: dict[str, Scene] = {
    "inspect": Scene(RUNNING, _of(steps.Inspect)),
    "inspect-nothing": Scene((), _of(steps.Inspect)),
    "await-health": Scene(RUNNING, _of(steps.AwaitHealth)),
    "shake-hands": Scene(RUNNING, _shake_hands),
    "pull": Scene((), lambda seen, spec: steps.PullImage(WHY, NAME, spec.image)),
    "create": Scene((), lambda seen, spec: steps.CreateContainer(WHY, NAME, ID, 1, spec)),
    "start": Scene(CREATED, _of(steps.StartContainer)),
    "start-again": Scene(EXITED, _of(steps.StartContainer)),
    "stop": Scene(RUNNING, _of(steps.StopContainer)),
    "stop-unstarted": Scene(CREATED, _of(steps.StopContainer)),
    "restart": Scene(RUNNING, _restart),
    "restart-stopped": Scene(EXITED, _restart),
    "keep-post-mortem": Scene(EXITED, _keep),
    "fall-back": Scene(EXITED, _of(steps.RollBack), updated=True),
    "redraw-ports": Scene((), lambda seen, spec: steps.ReallocatePorts(WHY, NAME, tuple(spec.allocated))),
    "remove": Scene(EXITED, _of(steps.RemoveContainer)),
    "remove-running": Scene(RUNNING, _of(steps.RemoveContainer)),
    "remove-nothing": Scene((), _of(steps.RemoveContainer)),
}


@dataclass(frozen=True)
class Stage:
    """A scene made ready on a shim. `run` is a worker that knows nothing of another one's run."""

    shim: Shim
    instance: Instance
    step: steps.Step
    now: datetime

    @property
    def deps(self) -> Dependencies:
        return replace(World().deps, now=lambda: self.now)

    def run(self) -> tuple[Instance, list[Write]]:
        return execute(self.step, self.shim, self.instance, _by(self.now), self.deps, lambda progress: None)


def staged(scene: Scene, shim: Shim, spec: Spec, now: datetime) -> Stage:
    seen: Container | None = None
    for verb in scene.before:
        if verb == "create":
            seen = shim.create(container_config(ID, 1, spec, {}), start_by=_by(now))
        else:
            seen = getattr(shim, verb)(NAME, start_by=_by(now))
    instance = Instance(
        id=ID, toolbox_id="t", account="a", name="n", spec=spec, desired=Desired(DesiredState.RUNNING),
        created_at=now, updated_at=now, observed=Observed(seen),
    )  # fmt: skip
    return Stage(shim, _updated(instance) if scene.updated else instance, scene.step(seen, spec), now)


def _updated(instance: Instance) -> Instance:
    failed = Observed(
        absent=True, previous=instance.observed.container, failure=Failure(2, Reason("start-failed", WHY))
    )
    asked = request_spec(instance, instance.spec)
    return replace(asked, observed=failed)


def _by(now: datetime) -> datetime:
    return now + timedelta(seconds=20)
