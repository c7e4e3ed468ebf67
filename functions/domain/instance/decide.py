"""Desired and observed make a plan. Pure: the same for a caller's click and for the scheduled sweep.

Each branch is a ladder of early returns, one reason beside each. The executor takes a plan's first step, folds in
what that saw, and asks again; the later steps are there to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from functions.domain.instance.condition import STEADY_AFTER, completed, exit_id, limits_edited, steady
from functions.domain.instance.container import LIVE_STATES, Container, Port
from functions.domain.instance.host_port import ports_to_reallocate
from functions.domain.instance.model import DesiredState, Instance
from functions.domain.instance.steps import (
    AwaitHealth,
    CreateContainer,
    Inspect,
    ProbeMcp,
    PullImage,
    ReallocatePorts,
    RecordPostMortem,
    RemoveContainer,
    RestartContainer,
    RollBack,
    StartContainer,
    Step,
    StopContainer,
)
from functions.domain.plan import Plan


def decide(instance: Instance) -> Plan[Step]:
    return Plan(tuple(_steps(instance)))


def _steps(instance: Instance) -> Iterator[Step]:
    state, observed = instance.target_state, instance.observed
    if observed.needs_inspection or not observed.reachable:
        return iter((Inspect("something may have happened unseen", instance.container_name),))
    if observed.previous_needs_inspection and instance.previous_name:
        return iter((Inspect("something may have happened unseen", instance.previous_name),))
    if state is DesiredState.DELETED:
        return _delete(instance)
    if instance.failure:
        return _after_failure(instance)
    if state is DesiredState.RUNNING and (taken := ports_to_reallocate(instance.spec, observed)):
        return _redraw(instance, taken)
    if observed.container is None:
        return _deploy(instance)
    if instance.previous_version:
        return _replace(instance, observed.container)
    if state is DesiredState.STOPPED:
        return _keep_stopped(instance, observed.container)
    return _keep_running(instance, observed.container)


def _deploy(instance: Instance) -> Iterator[Step]:
    name, desired, spec = instance.container_name, instance.desired, instance.spec
    if instance.observed.image_missing:
        yield PullImage("the image is not on the toolbox", name, spec.image)
    yield CreateContainer("no container", name, instance.id, desired.spec_generation, spec)
    yield from _retire(instance, "another version takes its place")
    if instance.target_state is DesiredState.RUNNING:
        yield StartContainer("desired running", name)


def _replace(instance: Instance, new: Container) -> Iterator[Step]:
    """Two containers of one instance never run: the old one is stopped, and kept until the new one is proven."""
    name = instance.container_name
    yield from _retire(instance, "another version takes its place")
    if instance.target_state is DesiredState.RUNNING:
        if new.state not in LIVE_STATES:
            yield StartContainer(f"desired running, seen {new.state}", name)
        elif new.state == "paused":
            yield RestartContainer("it was paused by hand", name, new.started_at)
        elif new.started_at == instance.desired.restart_after:
            yield RestartContainer("a restart was asked for", name, new.started_at)
        yield from _prove(instance, new)
        if not steady(instance, new):
            yield AwaitHealth(f"seen running for less than {STEADY_AFTER.total_seconds():.0f} seconds", name)
    else:
        yield from _keep_stopped(instance, new)
    yield from _remove(instance.previous_name, instance.observed.previous, instance, "it was replaced")


def _redraw(instance: Instance, taken: Sequence[Port]) -> Iterator[Step]:
    """Its claims are given up with the draw, so the container that holds them goes first."""
    told = ", ".join(f"{port.host_port}/{port.protocol}" for port in taken)
    cause, name, observed = f"host port {told} is taken", instance.container_name, instance.observed
    yield from _remove(name, observed.container, instance, cause, known_gone=observed.absent)
    yield ReallocatePorts(cause, name, tuple(taken))


def _keep_stopped(instance: Instance, container: Container) -> Iterator[Step]:
    if container.state in LIVE_STATES:
        yield StopContainer(f"desired stopped, seen {container.state}", instance.container_name)


def _keep_running(instance: Instance, container: Container) -> Iterator[Step]:
    name, observed, restart_after = instance.container_name, instance.observed, instance.desired.restart_after
    if completed(instance):
        return
    if limits_edited(instance, container.limits):
        yield from _remove(name, container, instance, "its limits were changed by hand")
        yield CreateContainer("no container", name, instance.id, instance.desired.spec_generation, instance.spec)
        yield StartContainer("desired running", name)
    elif container.state not in LIVE_STATES:
        if exit_id(container) != observed.requested_exit:
            yield from _post_mortem(name, container, instance, "it has died")
        yield StartContainer(f"desired running, seen {container.state}", name)
    elif container.state == "paused":
        yield RestartContainer("it was paused by hand", name, container.started_at)
    elif restart_after is not None and restart_after == container.started_at:
        yield RestartContainer("a restart was asked for", name, restart_after)
    else:
        yield from _prove(instance, container)


def _prove(instance: Instance, container: Container) -> Iterator[Step]:
    """What runs must also serve."""
    mcp, seen, name = instance.spec.mcp, instance.observed.mcp, instance.container_name
    if container.state != "running" or container.health == "starting":
        yield AwaitHealth(f"seen {container.state}, health {container.health or 'not checked'}", name)
    elif mcp and (seen is None or seen.endpoint_id != container.endpoint_id):
        yield ProbeMcp("not asked since this start", name, mcp, container.endpoint_id)


def _after_failure(instance: Instance) -> Iterator[Step]:
    """This generation is given up: what it left is put in order, and nothing is tried again."""
    name, observed, reason = instance.container_name, instance.observed, instance.failure
    cause = f"given up: {reason.code}" if reason else ""
    if instance.previous_version:
        yield from _remove(name, observed.container, instance, cause, known_gone=observed.absent)
        yield from _fall_back(instance, cause)
    elif observed.container and observed.container.state in LIVE_STATES:
        yield from _post_mortem(name, observed.container, instance, cause)
        yield StopContainer(cause, name)
    elif observed.container and not observed.container.started_at:
        yield RemoveContainer(cause, name)


def _fall_back(instance: Instance, cause: str) -> Iterator[Step]:
    previous, name = instance.observed.previous, instance.previous_name
    if previous is None or name is None:
        return
    if not previous.started_at:
        yield RemoveContainer("it never ran either", name)
    else:
        yield RollBack(cause, name)


def _delete(instance: Instance) -> Iterator[Step]:
    """Absence ends it; what was never seen is removed all the same, since its create may have gone through."""
    observed = instance.observed
    yield from _remove(instance.previous_name, observed.previous, instance, "desired deleted")
    yield from _remove(
        instance.container_name, observed.container, instance, "desired deleted", known_gone=observed.absent
    )


def _retire(instance: Instance, cause: str) -> Iterator[Step]:
    previous, name = instance.observed.previous, instance.previous_name
    if name and previous and previous.state in LIVE_STATES:
        yield StopContainer(cause, name)


def _remove(
    name: str | None, seen: Container | None, instance: Instance, cause: str, *, known_gone: bool | None = None
) -> Iterator[Step]:
    """Never without its post-mortem. A container not seen is removed too, unless it is `known_gone` (None: as seen)."""
    if name is None or (seen is None if known_gone is None else known_gone):
        return
    if seen and seen.state in LIVE_STATES:
        yield StopContainer(cause, name)
    if seen:
        yield from _post_mortem(name, seen, instance, "before it is gone")
    yield RemoveContainer(cause, name)


def _post_mortem(name: str, seen: Container, instance: Instance, cause: str) -> Iterator[Step]:
    mark = exit_id(seen) or (f"{seen.id} {seen.started_at}" if seen.started_at else "")
    if mark and mark != instance.observed.post_mortem_of:
        yield RecordPostMortem(cause, name, mark)
