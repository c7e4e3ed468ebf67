"""What an account may ask of an instance. Each asking is a new generation."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.instance.container import LIVE_STATES
from functions.domain.instance.model import DesiredState, Instance, PreviousVersion
from functions.domain.instance.spec import Spec


def request_state(instance: Instance, state: DesiredState, *, fresh: bool = False) -> Instance:
    """Ask for `state`; with `fresh` for a start later than the one last seen. Each asking is a new generation."""
    container = instance.observed.container
    dead = container is not None and container.state not in LIVE_STATES
    # Also a plain start of what has ended: a job with restart policy "no" that ran is not run again unasked.
    restart_after = container.started_at if container and (fresh or dead) else None
    generation = instance.desired.generation + 1
    return replace(
        instance, desired=replace(instance.desired, state=state, generation=generation, restart_after=restart_after)
    )


def request_suspension(instance: Instance, suspended: bool) -> Instance:
    """Ask that it be held stopped, or that it be again as it is desired: what ran is then to be started anew."""
    container, generation = instance.observed.container, instance.desired.generation + 1
    live = suspended and container is not None and container.state in LIVE_STATES
    restart_after = container.started_at if container and live else instance.desired.restart_after
    desired = replace(instance.desired, generation=generation, restart_after=restart_after)
    return replace(instance, suspended=suspended, desired=desired)


def request_spec(instance: Instance, spec: Spec) -> Instance:
    """Ask for another spec: its container is proven before the present one is removed."""
    generation = instance.desired.generation + 1
    spec_generation = generation + instance.desired.reallocations
    desired = replace(instance.desired, generation=generation, spec_generation=spec_generation, restart_after=None)
    seen = instance.observed
    # Also what is gone, since it has its claims, and what was never seen: its create may have gone through.
    replacing = PreviousVersion(instance.spec, instance.desired.spec_generation)
    observed = replace(
        seen,
        container=None,
        absent=False,
        needs_inspection=False,
        image_missing=False,
        mcp=None,
        restarts=[],
        refused_ports=[],
        rollback_reason=None,
        previous=seen.container,
        previous_needs_inspection=seen.needs_inspection or (seen.container is None and not seen.absent),
    )
    return replace(instance, spec=spec, desired=desired, previous_version=replacing, observed=observed)
