"""Fold a sighting into what is known. Pure; what to do about it is decided elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.condition import death, instant, last_exit, ready
from functions.domain.errors import ToolboxesError, ToolboxUnreachable
from functions.domain.host_port import MAX_REDRAWS, refused
from functions.domain.instance import DesiredState, Failure, Instance, McpSeen, Observed, Reason, RestartsSeen
from functions.domain.lease import MAX_SKEW
from functions.domain.plan import KeepPostMortem, Step, StopContainer
from functions.domain.spec import engine_limits
from shim.contract import errors as shim_errors
from shim.contract import messages

Problem = shim_errors.ShimError | ToolboxesError
# The account's spec, its image or the container itself is at fault: trying again would fail again.
FAILURES = (shim_errors.ImageUnavailable, shim_errors.StartFailed, shim_errors.BodyTooLarge, shim_errors.NameTaken)

CRASH_LOOP = "crash-loop"
CRASHES, CRASHES_WITHIN = 5, timedelta(minutes=10)
UPDATE_FAILED = "update-failed"
PROVEN_WITHIN = timedelta(seconds=120)


def acted(instance: Instance, step: Step, answer: messages.Acted, now: datetime) -> Instance:
    """The engine was asked and answered: the container as inspected after the act, or its absence."""
    seen = replace(instance.observed, at=now, reachable=True, uncertain=False, trouble=None)
    if step.container == instance.previous_name:
        return replace(instance, observed=replace(seen, previous=answer.container, previous_uncertain=False))
    container = answer.container
    stopped = death(container) if container and _stop_wanted(instance, step, container) else seen.stopped
    observed = replace(
        seen,
        container=container,
        gone=container is None,
        image_missing=False,
        progress=None,
        stopped=stopped,
        restarts=_restarts(seen, container, now),
        taken=[] if container and container.state == "running" else seen.taken,
    )
    return _judged(replace(instance, observed=observed), now)


def _stop_wanted(instance: Instance, step: Step, container: messages.Container) -> bool:
    """Whether an end that is seen now is the one that was asked for: the stop itself may have gone unheard."""
    if isinstance(step, StopContainer) or instance.aim is not DesiredState.RUNNING:
        return True
    return instance.failure is not None or container.limits != engine_limits(instance.spec)


def pulled(instance: Instance, now: datetime) -> Instance:
    observed = replace(instance.observed, at=now, reachable=True, image_missing=False, trouble=None, progress=None)
    return replace(instance, observed=observed)


def kept(instance: Instance, step: KeepPostMortem) -> Instance:
    return replace(instance, observed=replace(instance.observed, kept=step.death))


def shaken(instance: Instance, seen: McpSeen) -> Instance:
    return replace(instance, observed=replace(instance.observed, mcp=seen, trouble=None))


def erred(instance: Instance, step: Step, error: Problem, now: datetime, start_by: datetime) -> Instance:
    """An error is a sighting too: some tell the truth about the container, the rest leave it as last seen."""
    seen = instance.observed
    match error:
        case shim_errors.NoSuchContainer():
            return acted(instance, step, messages.Acted(container=None, changed=False), now)
        case shim_errors.NoSuchImage():
            return replace(instance, observed=replace(seen, image_missing=True, reachable=True, trouble=None))
        case shim_errors.NotAnswering():
            # Not yet, or it has ended meanwhile; how long that may go on is judged by the clock.
            return _judged(replace(instance, observed=replace(seen, uncertain=True)), now)
        case shim_errors.OutcomeUnknown() | shim_errors.OlderSpec():
            until = start_by + MAX_SKEW if step.lingers else seen.may_begin_until
            return replace(
                instance, observed=replace(seen, uncertain=True, may_begin_until=until, trouble=reason(error))
            )
        case shim_errors.PortTaken() if refusal := _refusal(instance, error):
            return replace(instance, observed=replace(refusal, reachable=True, trouble=None))
        case ToolboxUnreachable():
            return replace(instance, observed=replace(seen, reachable=False, trouble=reason(error), progress=None))
    # A deletion is never given up.
    final = isinstance(error, FAILURES) or type(error) is shim_errors.Refused
    if final and instance.aim is not DesiredState.DELETED:
        failed = replace(seen, reachable=True, trouble=None, progress=None)
        return replace(instance, observed=failing(failed, instance.desired.generation, reason(error)))
    return replace(instance, observed=replace(seen, trouble=reason(error), progress=None))


def _refusal(instance: Instance, error: shim_errors.PortTaken) -> Observed | None:
    """What is learned of a host port that something else holds; None where that ends this generation."""
    seen = instance.observed
    if len(seen.taken) >= MAX_REDRAWS:
        return None
    taken = refused(instance.spec, error.message, again=bool(seen.taken))
    return replace(seen, taken=[*seen.taken, *taken]) if taken else None


def failing(observed: Observed, generation: int, why: Reason) -> Observed:
    """The first reason is the one that is kept: what follows from it is not the cause."""
    if observed.failure and observed.failure.generation == generation:
        return observed
    return replace(observed, failure=Failure(generation, why))


def reason(error: Problem) -> Reason:
    return Reason(error.code, error.message if isinstance(error, shim_errors.ShimError) else error.detail)


def _restarts(seen: Observed, container: messages.Container | None, now: datetime) -> list[RestartsSeen]:
    """The counts of the last minutes; a container that was started anew counts from nought."""
    if container is None:
        return []
    count, marks = container.restart_count, seen.restarts
    if not marks or marks[-1].count > count:
        return [RestartsSeen(now, count)]
    if marks[-1].count == count:
        return marks
    # The newest of those that are too old still says where the count stood when the ten minutes began.
    old = [mark for mark in marks if now - mark.at > CRASHES_WITHIN]
    return [*old[-1:], *(mark for mark in marks if mark not in old), RestartsSeen(now, count)]


def _judged(instance: Instance, now: datetime) -> Instance:
    """What only time tells: a crash loop, and an update whose container does not prove itself."""
    observed, container, generation = instance.observed, instance.observed.container, instance.desired.generation
    if container is None or instance.aim is not DesiredState.RUNNING:
        return instance
    marks = [mark for mark in observed.restarts if now - mark.at <= CRASHES_WITHIN]
    if marks and marks[-1].count - observed.restarts[0].count >= CRASHES:
        told = f"the container was restarted {container.restart_count} times within ten minutes; {last_exit(container)}"
        why = Reason(CRASH_LOOP, told)
        return replace(instance, observed=failing(observed, generation, why))
    # Where nothing is there to fall back on, it is given the time that a new one has.
    unproven = _unproven(instance, container, now) if observed.previous and container.started_at else None
    if unproven:
        why = Reason(UPDATE_FAILED, f"the new container {unproven}")
        return replace(instance, observed=failing(observed, generation, why))
    return instance


def _unproven(instance: Instance, container: messages.Container, now: datetime) -> str | None:
    """Why the container of an update is not to replace the one before, None while it still may."""
    if death(container):
        return f"ended with exit code {container.exit_code}"
    if container.restart_count:
        return "ended and was restarted by the engine"
    if container.health == "unhealthy":
        return "became unhealthy"
    overdue = not ready(instance) and now - instant(container.started_at) > PROVEN_WITHIN
    return f"did not serve within {PROVEN_WITHIN.total_seconds():.0f} seconds" if overdue else None
