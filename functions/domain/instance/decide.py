"""Decide what is to be done about an instance: desired and observed state make a plan.

Pure, so a request and the sweep come to the same plan, and tests compare it as printed. Each function is a ladder of
early returns with one reason beside each. The executor takes the plan's first step, folds in what was observed and
decides again; the later steps only show what will follow.
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

UNSEEN = "it may have changed unseen"
REPLACED = "a new version replaces it"


def decide(instance: Instance) -> Plan[Step]:
    """Return the steps that lead from the observed to the target state."""
    return Plan(tuple(_steps(instance)))


def _steps(instance: Instance) -> Iterator[Step]:
    state, observed = instance.target_state, instance.observed
    if observed.needs_inspection or not observed.reachable:
        return iter((Inspect(UNSEEN, instance.container_name),))
    if observed.previous_needs_inspection and instance.previous_name:
        return iter((Inspect(UNSEEN, instance.previous_name),))
    if state is DesiredState.DELETED:
        return _delete(instance)
    if instance.failure:
        return _clean_up(instance, f"gave up: {instance.failure.code}")
    if state is DesiredState.RUNNING and (refused := ports_to_reallocate(instance.spec, observed)):
        return _reallocate_ports(instance, refused)
    if observed.container is None:
        return _deploy(instance)
    if instance.previous_version:
        return _update(instance, observed.container)
    if state is DesiredState.STOPPED:
        return _keep_stopped(instance, observed.container)
    return _keep_running(instance, observed.container)


def _deploy(instance: Instance) -> Iterator[Step]:
    name, desired, spec = instance.container_name, instance.desired, instance.spec
    if instance.observed.image_missing:
        yield PullImage("the image is not on the toolbox", name, spec.image)
    yield CreateContainer("no container", name, instance.id, desired.spec_generation, spec)
    yield from _stop_previous(instance)
    if instance.target_state is DesiredState.RUNNING:
        yield StartContainer("desired running", name)


def _update(instance: Instance, new: Container) -> Iterator[Step]:
    """Stop the previous version, prove the new one, then remove the previous one.

    The two containers share volumes and host ports, so they never run at the same time. The previous one is kept until
    the new one is proven, to roll back to.
    """
    name = instance.container_name
    yield from _stop_previous(instance)
    if instance.target_state is DesiredState.RUNNING:
        if new.state not in LIVE_STATES:
            yield StartContainer(f"desired running, observed {new.state}", name)
        elif new.state == "paused":
            yield RestartContainer("it was paused by hand", name, new.started_at)
        elif new.started_at == instance.desired.restart_after:
            yield RestartContainer("a restart was requested", name, new.started_at)
        yield from _prove(instance, new)
        if not steady(instance, new):
            yield AwaitHealth(f"running for less than {STEADY_AFTER.total_seconds():.0f} seconds", name)
    else:
        yield from _keep_stopped(instance, new)
    yield from _remove(instance.previous_name, instance.observed.previous, instance, "it was replaced")


def _reallocate_ports(instance: Instance, refused: Sequence[Port]) -> Iterator[Step]:
    """Remove the container first: choosing other ports releases the reservations of those that it holds."""
    ports = ", ".join(f"{port.host_port}/{port.protocol}" for port in refused)
    cause, name, observed = f"host port {ports} is in use", instance.container_name, instance.observed
    yield from _remove(name, observed.container, instance, cause, absent=observed.absent)
    yield ReallocatePorts(cause, name, tuple(refused))


def _keep_stopped(instance: Instance, container: Container) -> Iterator[Step]:
    if container.state in LIVE_STATES:
        yield StopContainer(f"desired stopped, observed {container.state}", instance.container_name)


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
            yield from _record_post_mortem(name, container, instance, "it ended unexpectedly")
        yield StartContainer(f"desired running, observed {container.state}", name)
    elif container.state == "paused":
        yield RestartContainer("it was paused by hand", name, container.started_at)
    elif container.started_at == restart_after:
        yield RestartContainer("a restart was requested", name, container.started_at)
    else:
        yield from _prove(instance, container)


def _prove(instance: Instance, container: Container) -> Iterator[Step]:
    """Wait until the running container serves: that it runs does not prove that it answers."""
    mcp, server, name = instance.spec.mcp, instance.observed.mcp, instance.container_name
    if container.state != "running" or container.health == "starting":
        yield AwaitHealth(f"observed {container.state}, health {container.health or 'not checked'}", name)
    elif mcp and (server is None or server.endpoint_id != container.endpoint_id):
        yield ProbeMcp("not probed since it started", name, mcp, container.endpoint_id)


def _clean_up(instance: Instance, cause: str) -> Iterator[Step]:
    """After a failure: leave nothing behind that runs or never ran, roll an update back, and try nothing again."""
    name, observed = instance.container_name, instance.observed
    if instance.previous_version:
        yield from _remove(name, observed.container, instance, cause, absent=observed.absent)
        yield from _roll_back(instance, cause)
    elif observed.container and observed.container.state in LIVE_STATES:
        yield from _record_post_mortem(name, observed.container, instance, cause)
        yield StopContainer(cause, name)
    elif observed.container and not observed.container.started_at:
        yield RemoveContainer(cause, name)


def _roll_back(instance: Instance, cause: str) -> Iterator[Step]:
    previous, name = instance.observed.previous, instance.previous_name
    if previous is None or name is None:
        return
    if previous.started_at:
        yield RollBack(cause, name)
    else:
        yield RemoveContainer("it never ran", name)


def _delete(instance: Instance) -> Iterator[Step]:
    """Remove every container until its absence is proven, also one that was never seen: its create may have worked."""
    name, observed, cause = instance.container_name, instance.observed, "desired deleted"
    yield from _remove(instance.previous_name, observed.previous, instance, cause)
    yield from _remove(name, observed.container, instance, cause, absent=observed.absent)


def _stop_previous(instance: Instance) -> Iterator[Step]:
    name, previous = instance.previous_name, instance.observed.previous
    if name and previous and previous.state in LIVE_STATES:
        yield StopContainer(REPLACED, name)


def _remove(
    name: str | None, container: Container | None, instance: Instance, cause: str, *, absent: bool | None = None
) -> Iterator[Step]:
    """Remove a container, and never without its post-mortem.

    `absent` says whether it is known to be gone; None: it is where `container` is None.
    """
    if name is None or (container is None if absent is None else absent):
        return
    if container and container.state in LIVE_STATES:
        yield StopContainer(cause, name)
    if container:
        yield from _record_post_mortem(name, container, instance, "it is about to be removed")
    yield RemoveContainer(cause, name)


def _record_post_mortem(name: str, container: Container, instance: Instance, cause: str) -> Iterator[Step]:
    # A container that still runs has no exit yet: its start names the post-mortem, so that there is only one of it.
    end_id = exit_id(container) or (f"{container.id} {container.started_at}" if container.started_at else "")
    if end_id and end_id != instance.observed.post_mortem_of:
        yield RecordPostMortem(cause, name, end_id)
