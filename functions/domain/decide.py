"""Desired and observed make a plan. Pure: the same for a caller's click and for the scheduled sweep."""

from __future__ import annotations

from functions.domain.instance import RUNNING_STATES, DesiredState, Instance
from functions.domain.plan import (
    CreateContainer,
    Inspect,
    Plan,
    PullImage,
    RemoveContainer,
    RestartContainer,
    StartContainer,
    Step,
    StopContainer,
)


def decide(instance: Instance) -> Plan:
    """The plan for what was last seen. The executor takes its first step, folds in what that saw, and asks again."""
    name, desired, observed = instance.container_name, instance.desired, instance.observed
    if observed.failure and instance.settled:
        return Plan()  # This generation was given up with its reason; the next one wakes it.
    if observed.uncertain:
        return Plan((Inspect("an earlier outcome is unknown", name),))
    if desired.state is DesiredState.DELETED:
        return _delete(instance)
    if observed.container is None:
        return _deploy(instance)
    runs = observed.container.state in RUNNING_STATES
    if desired.state is DesiredState.STOPPED:
        return Plan((StopContainer("desired stopped, seen " + observed.container.state, name),)) if runs else Plan()
    if not runs:
        return Plan((StartContainer("desired running, seen " + observed.container.state, name),))
    if desired.restart_of == observed.container.started_at:
        return Plan((RestartContainer("a restart was asked for", name, desired.restart_of),))
    return Plan()


def _deploy(instance: Instance) -> Plan:
    name, desired, spec = instance.container_name, instance.desired, instance.spec
    steps: list[Step] = []
    if instance.observed.image_missing:
        steps.append(PullImage("the image is not on the toolbox", name, spec.image))
    steps.append(CreateContainer("no container", name, instance.id, desired.spec_generation, spec))
    if desired.state is DesiredState.RUNNING:
        steps.append(StartContainer("desired running", name))
    return Plan(tuple(steps))


def _delete(instance: Instance) -> Plan:
    """Absence ends it; a container never seen is removed all the same, since its create may have gone through."""
    name, observed = instance.container_name, instance.observed
    if observed.gone:
        return Plan()
    steps: list[Step] = []
    if observed.container and observed.container.state in RUNNING_STATES:
        steps.append(StopContainer("desired deleted", name))
    steps.append(RemoveContainer("desired deleted", name))
    return Plan(tuple(steps))
