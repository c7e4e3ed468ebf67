"""Fold what a step observed into an instance, and settle a generation. Pure; what to do is decided in decide.py.

An error is an observation too: some prove something about the container, the rest only say that nothing is known.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.errors import ToolboxesError, ToolboxUnreachable
from functions.domain.instance.condition import describe_last_exit, exit_id, ready
from functions.domain.instance.container import Container
from functions.domain.instance.host_port import MAX_REALLOCATIONS, refused_ports
from functions.domain.instance.model import DesiredState, Failure, Instance, McpServer, Observed, Reason, RestartCount
from functions.domain.instance.size import without_large_parts
from functions.domain.instance.spec import engine_limits
from functions.domain.instance.steps import RecordPostMortem, Step, StopContainer
from functions.domain.lease import MAX_SKEW
from shim.contract import errors as shim_errors

Problem = shim_errors.ShimError | ToolboxesError
# The account's spec, its image or its program is at fault: another attempt would fail in the same way.
FAILURES = (shim_errors.ImageUnavailable, shim_errors.StartFailed, shim_errors.BodyTooLarge, shim_errors.NameTaken)

# Characters of an error's message; a shim's answer has up to 8 MiB.
MAX_MESSAGE = 4_000

CRASH_LOOP = "crash-loop"
CRASHES, CRASHES_WITHIN = 5, timedelta(minutes=10)
UPDATE_FAILED = "update-failed"
PROVEN_WITHIN = timedelta(seconds=120)


def fold_container(instance: Instance, step: Step, container: Container | None, now: datetime) -> Instance:
    """Fold in the container as inspected after `step`, None where it is absent."""
    observed = replace(instance.observed, at=now, reachable=True, needs_inspection=False, obstacle=None)
    if step.container == instance.previous_name:
        return replace(instance, observed=replace(observed, previous=container, previous_needs_inspection=False))
    requested = container is not None and _stop_requested(instance, step, container)
    observed = replace(
        observed,
        container=container,
        absent=container is None,
        image_missing=False,
        progress=None,
        requested_exit=exit_id(container) if container and requested else observed.requested_exit,
        restarts=_restarts(observed, container, now),
        refused_ports=[] if container and container.state == "running" else observed.refused_ports,
    )
    return _with_verdict(replace(instance, observed=observed), now)


def _stop_requested(instance: Instance, step: Step, container: Container) -> bool:
    """Whether an end that is observed now was requested by the control plane, perhaps by a stop without an answer."""
    if isinstance(step, StopContainer) or instance.target_state is not DesiredState.RUNNING:
        return True
    return instance.failure is not None or container.limits != engine_limits(instance.spec)


def fold_pull(instance: Instance, now: datetime) -> Instance:
    """Fold in that the image was pulled."""
    return replace(instance, observed=replace(instance.observed, at=now, image_missing=False, progress=None))


def fold_post_mortem(instance: Instance, step: RecordPostMortem) -> Instance:
    """Fold in that the post-mortem is recorded."""
    return replace(instance, observed=replace(instance.observed, post_mortem_of=step.exit_id))


def fold_mcp(instance: Instance, server: McpServer) -> Instance:
    """Fold in what the MCP server answered."""
    return replace(instance, observed=replace(instance.observed, mcp=server, obstacle=None))


def fold_error(instance: Instance, step: Step, error: Problem, now: datetime, start_by: datetime) -> Instance:
    """Fold in the error that `step` met. Absence is believed only from no-such-container, never from a list."""
    observed = instance.observed
    match error:
        case shim_errors.NoSuchContainer():
            return fold_container(instance, step, None, now)
        case shim_errors.NoSuchImage():
            return replace(instance, observed=replace(observed, image_missing=True, reachable=True, obstacle=None))
        case shim_errors.NotAnswering():
            # The server is not up yet, or the container has ended: an inspect shows which.
            return _with_verdict(replace(instance, observed=replace(observed, needs_inspection=True)), now)
        case shim_errors.OutcomeUnknown() | shim_errors.OlderSpec():
            until = start_by + MAX_SKEW if step.may_start_late else observed.in_flight_until
            unknown = replace(observed, needs_inspection=True, in_flight_until=until, obstacle=reason_of(error))
            return replace(instance, observed=unknown)
        case shim_errors.PortTaken() if refused := _with_refused_ports(instance, error):
            return replace(instance, observed=replace(refused, reachable=True, obstacle=None))
        case ToolboxUnreachable():
            return replace(
                instance, observed=replace(observed, reachable=False, obstacle=reason_of(error), progress=None)
            )
    # A deletion is never given up: its container would run for ever and no document would know it.
    final = isinstance(error, FAILURES) or type(error) is shim_errors.Refused
    if final and instance.target_state is not DesiredState.DELETED:
        failed = replace(observed, reachable=True, obstacle=None, progress=None)
        return replace(instance, observed=fail(failed, instance.desired.generation, reason_of(error)))
    return replace(instance, observed=replace(observed, obstacle=reason_of(error), progress=None))


def _with_refused_ports(instance: Instance, error: shim_errors.PortTaken) -> Observed | None:
    """Record which allocated host ports the engine refused; None where that is final.

    The reallocation is bounded, because a refusal need not be about the number: an engine can keep every port that a
    container once had, and would refuse any choice.
    """
    observed = instance.observed
    if len(observed.refused_ports) >= MAX_REALLOCATIONS:
        return None
    refused = refused_ports(instance.spec, error.message, again=bool(observed.refused_ports))
    return replace(observed, refused_ports=[*observed.refused_ports, *refused]) if refused else None


def fail(observed: Observed, generation: int, reason: Reason) -> Observed:
    """Give up on a generation. The first reason stays: later ones follow from it."""
    if observed.failure and observed.failure.generation == generation:
        return observed
    return replace(observed, failure=Failure(generation, reason))


def reason_of(error: Problem) -> Reason:
    """Return the error as it is stored and shown: a message of any length would make the document too large."""
    message = error.message if isinstance(error, shim_errors.ShimError) else error.detail
    return Reason(error.code, message[:MAX_MESSAGE])


def _restarts(observed: Observed, container: Container | None, now: datetime) -> list[RestartCount]:
    """Return the restart counts of the last minutes; the count starts again with every start by the control plane."""
    if container is None:
        return []
    count, restarts = container.restart_count, observed.restarts
    if not restarts or restarts[-1].count > count:
        return [RestartCount(now, count)]
    if restarts[-1].count == count:
        return restarts
    # The newest of those that are too old is kept: it says what the count was when the ten minutes began.
    old = [restart for restart in restarts if now - restart.at > CRASHES_WITHIN]
    return [*old[-1:], *(restart for restart in restarts if restart not in old), RestartCount(now, count)]


def _with_verdict(instance: Instance, now: datetime) -> Instance:
    """Fail what only time shows to have failed: a crash loop, and an update that is not proven in time."""
    observed, container, generation = instance.observed, instance.observed.container, instance.desired.generation
    if container is None or instance.target_state is not DesiredState.RUNNING:
        return instance
    recent = [restart for restart in observed.restarts if now - restart.at <= CRASHES_WITHIN]
    if recent and recent[-1].count - observed.restarts[0].count >= CRASHES:
        count, last_exit = container.restart_count, describe_last_exit(container)
        reason = Reason(CRASH_LOOP, f"the container was restarted {count} times within ten minutes; {last_exit}")
        return replace(instance, observed=fail(observed, generation, reason))
    # A first version has no time limit here: there is nothing to roll back to.
    problem = _why_unproven(instance, container, now) if observed.previous and container.started_at else None
    if problem:
        reason = Reason(UPDATE_FAILED, f"the new container {problem}")
        return replace(instance, observed=fail(observed, generation, reason))
    return instance


def _why_unproven(instance: Instance, container: Container, now: datetime) -> str | None:
    """Why the container of an update must not replace the previous one, None while it still may."""
    if exit_id(container):
        return f"ended with exit code {container.exit_code}"
    if container.restart_count:
        return "ended and was restarted by the engine"
    if container.health == "unhealthy":
        return "became unhealthy"
    overdue = not ready(instance) and now - datetime.fromisoformat(container.started_at) > PROVEN_WITHIN
    return f"was not ready within {PROVEN_WITHIN.total_seconds():.0f} seconds" if overdue else None


# The end of a generation: it was reached, given up, or given up and rolled back.

# How long a deleted instance's document stays, so that its history can still be read.
TOMBSTONE_TTL = timedelta(days=30)


def settle(instance: Instance, now: datetime) -> Instance:
    """Return the instance once its plan is empty: its generation is reached or given up, and nothing is due."""
    final = replace(instance, previous_version=None, due_at=None, attempts=0)
    final = replace(final, observed=replace(final.observed, generation=final.desired.generation))
    if final.desired.state is DesiredState.DELETED:
        return replace(without_large_parts(final), deleted_at=now, expire_at=now + TOMBSTONE_TTL)
    return _with_rollback_reason(replace(final, observed=replace(final.observed, previous=None)))


def roll_back(instance: Instance) -> Instance:
    """Return the instance with its previous version desired again; the container of the failed one is gone.

    The generation stays: the account requested nothing. It is settled once the previous version is as desired, and the
    reason of the failure is kept until then.
    """
    version, observed, reason = instance.previous_version, instance.observed, instance.failure
    assert version is not None and reason is not None and observed.previous is not None
    observed = replace(
        observed,
        container=observed.previous,
        absent=False,
        image_missing=False,
        failure=None,
        mcp=None,
        restarts=[],
        refused_ports=[],
        # The control plane stopped it to make place for the new version.
        requested_exit=exit_id(observed.previous),
        previous=None,
        rollback_reason=reason,
    )
    desired = replace(instance.desired, spec_generation=version.spec_generation)
    return replace(instance, spec=version.spec, desired=desired, previous_version=None, observed=observed)


def _with_rollback_reason(instance: Instance) -> Instance:
    """Show why an update was given up, also where the previous version failed as well."""
    observed, reason = instance.observed, instance.observed.rollback_reason
    if reason is None:
        return instance
    if failure := instance.failure:
        both = Reason(failure.code, f"{failure.message}; before that an update was given up: {reason.message}")
        failed = Failure(instance.desired.generation, both)
        return replace(instance, observed=replace(observed, failure=failed, rollback_reason=None))
    obstacle = Reason(reason.code, f"{reason.message}; the previous version serves again")
    return replace(instance, observed=replace(observed, obstacle=obstacle, rollback_reason=None))
