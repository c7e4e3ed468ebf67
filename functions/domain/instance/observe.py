"""Fold a sighting into what is known. Pure; what to do about it is decided elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.errors import ToolboxesError, ToolboxUnreachable
from functions.domain.instance.condition import describe_last_exit, exit_id, parse_docker_time, ready
from functions.domain.instance.container import Container
from functions.domain.instance.host_port import MAX_REALLOCATIONS, refused_ports
from functions.domain.instance.model import DesiredState, Failure, Instance, McpServer, Observed, Reason, RestartCount
from functions.domain.instance.spec import engine_limits
from functions.domain.instance.steps import RecordPostMortem, Step, StopContainer
from functions.domain.lease import MAX_SKEW
from shim.contract import errors as shim_errors

Problem = shim_errors.ShimError | ToolboxesError
# The account's spec, its image or the container itself is at fault: trying again would fail again.
FAILURES = (shim_errors.ImageUnavailable, shim_errors.StartFailed, shim_errors.BodyTooLarge, shim_errors.NameTaken)

CRASH_LOOP = "crash-loop"
CRASHES, CRASHES_WITHIN = 5, timedelta(minutes=10)
UPDATE_FAILED = "update-failed"
PROVEN_WITHIN = timedelta(seconds=120)


def fold_container(instance: Instance, step: Step, container: Container | None, now: datetime) -> Instance:
    """The engine was asked and answered: the container as inspected after the act, or its absence."""
    seen = replace(instance.observed, at=now, reachable=True, needs_inspection=False, obstacle=None)
    if step.container == instance.previous_name:
        return replace(instance, observed=replace(seen, previous=container, previous_needs_inspection=False))
    stopped = exit_id(container) if container and _stop_wanted(instance, step, container) else seen.requested_exit
    observed = replace(
        seen,
        container=container,
        absent=container is None,
        image_missing=False,
        progress=None,
        requested_exit=stopped,
        restarts=_restarts(seen, container, now),
        refused_ports=[] if container and container.state == "running" else seen.refused_ports,
    )
    return _judged(replace(instance, observed=observed), now)


def _stop_wanted(instance: Instance, step: Step, container: Container) -> bool:
    """Whether an end that is seen now is the one that was asked for: the stop itself may have gone unheard."""
    if isinstance(step, StopContainer) or instance.target_state is not DesiredState.RUNNING:
        return True
    return instance.failure is not None or container.limits != engine_limits(instance.spec)


def fold_pull(instance: Instance, now: datetime) -> Instance:
    observed = replace(instance.observed, at=now, reachable=True, image_missing=False, obstacle=None, progress=None)
    return replace(instance, observed=observed)


def fold_post_mortem(instance: Instance, step: RecordPostMortem) -> Instance:
    return replace(instance, observed=replace(instance.observed, post_mortem_of=step.death))


def fold_mcp(instance: Instance, seen: McpServer) -> Instance:
    return replace(instance, observed=replace(instance.observed, mcp=seen, obstacle=None))


def fold_error(instance: Instance, step: Step, error: Problem, now: datetime, start_by: datetime) -> Instance:
    """An error is a sighting too: some tell the truth about the container, the rest leave it as last seen."""
    seen = instance.observed
    match error:
        case shim_errors.NoSuchContainer():
            return fold_container(instance, step, None, now)
        case shim_errors.NoSuchImage():
            return replace(instance, observed=replace(seen, image_missing=True, reachable=True, obstacle=None))
        case shim_errors.NotAnswering():
            # Not yet, or it has ended meanwhile; how long that may go on is judged by the clock.
            return _judged(replace(instance, observed=replace(seen, needs_inspection=True)), now)
        case shim_errors.OutcomeUnknown() | shim_errors.OlderSpec():
            until = start_by + MAX_SKEW if step.may_start_late else seen.in_flight_until
            return replace(
                instance,
                observed=replace(seen, needs_inspection=True, in_flight_until=until, obstacle=reason_of(error)),
            )
        case shim_errors.PortTaken() if refusal := _refusal(instance, error):
            return replace(instance, observed=replace(refusal, reachable=True, obstacle=None))
        case ToolboxUnreachable():
            return replace(instance, observed=replace(seen, reachable=False, obstacle=reason_of(error), progress=None))
    # A deletion is never given up.
    final = isinstance(error, FAILURES) or type(error) is shim_errors.Refused
    if final and instance.target_state is not DesiredState.DELETED:
        failed = replace(seen, reachable=True, obstacle=None, progress=None)
        return replace(instance, observed=fail(failed, instance.desired.generation, reason_of(error)))
    return replace(instance, observed=replace(seen, obstacle=reason_of(error), progress=None))


def _refusal(instance: Instance, error: shim_errors.PortTaken) -> Observed | None:
    """What is learned of a host port that something else holds; None where that ends this generation."""
    seen = instance.observed
    if len(seen.refused_ports) >= MAX_REALLOCATIONS:
        return None
    taken = refused_ports(instance.spec, error.message, again=bool(seen.refused_ports))
    return replace(seen, refused_ports=[*seen.refused_ports, *taken]) if taken else None


def fail(observed: Observed, generation: int, why: Reason) -> Observed:
    """The first reason is the one that is kept: what follows from it is not the cause."""
    if observed.failure and observed.failure.generation == generation:
        return observed
    return replace(observed, failure=Failure(generation, why))


def reason_of(error: Problem) -> Reason:
    return Reason(error.code, error.message if isinstance(error, shim_errors.ShimError) else error.detail)


def _restarts(seen: Observed, container: Container | None, now: datetime) -> list[RestartCount]:
    """The counts of the last minutes; a container that was started anew counts from nought."""
    if container is None:
        return []
    count, marks = container.restart_count, seen.restarts
    if not marks or marks[-1].count > count:
        return [RestartCount(now, count)]
    if marks[-1].count == count:
        return marks
    # The newest of those that are too old still says where the count stood when the ten minutes began.
    old = [mark for mark in marks if now - mark.at > CRASHES_WITHIN]
    return [*old[-1:], *(mark for mark in marks if mark not in old), RestartCount(now, count)]


def _judged(instance: Instance, now: datetime) -> Instance:
    """What only time tells: a crash loop, and an update whose container does not prove itself."""
    observed, container, generation = instance.observed, instance.observed.container, instance.desired.generation
    if container is None or instance.target_state is not DesiredState.RUNNING:
        return instance
    marks = [mark for mark in observed.restarts if now - mark.at <= CRASHES_WITHIN]
    if marks and marks[-1].count - observed.restarts[0].count >= CRASHES:
        count, last_exit = container.restart_count, describe_last_exit(container)
        reason = Reason(CRASH_LOOP, f"the container was restarted {count} times within ten minutes; {last_exit}")
        return replace(instance, observed=fail(observed, generation, reason))
    # Where nothing is there to fall back on, it is given the time that a new one has.
    unproven = _unproven(instance, container, now) if observed.previous and container.started_at else None
    if unproven:
        why = Reason(UPDATE_FAILED, f"the new container {unproven}")
        return replace(instance, observed=fail(observed, generation, why))
    return instance


def _unproven(instance: Instance, container: Container, now: datetime) -> str | None:
    """Why the container of an update is not to replace the one before, None while it still may."""
    if exit_id(container):
        return f"ended with exit code {container.exit_code}"
    if container.restart_count:
        return "ended and was restarted by the engine"
    if container.health == "unhealthy":
        return "became unhealthy"
    overdue = not ready(instance) and now - parse_docker_time(container.started_at) > PROVEN_WITHIN
    return f"did not serve within {PROVEN_WITHIN.total_seconds():.0f} seconds" if overdue else None
