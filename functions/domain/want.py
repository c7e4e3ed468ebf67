"""What an account may ask of an instance. Each asking is a new generation."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.instance import LIVE_STATES, DesiredState, Instance, Version
from functions.domain.spec import Spec


def want(instance: Instance, state: DesiredState, *, fresh: bool = False) -> Instance:
    """Ask for `state`; with `fresh` for a start later than the one last seen. Each asking is a new generation."""
    container = instance.observed.container
    dead = container is not None and container.state not in LIVE_STATES
    # Also a plain start of what has ended: a job with restart policy "no" that ran is not run again unasked.
    fresh_from = container.started_at if container and (fresh or dead) else None
    generation = instance.desired.generation + 1
    return replace(
        instance, desired=replace(instance.desired, state=state, generation=generation, fresh_from=fresh_from)
    )


def want_held(instance: Instance, suspended: bool) -> Instance:
    """Ask that it be held stopped, or that it be again as it is desired: what ran is then to be started anew."""
    container, generation = instance.observed.container, instance.desired.generation + 1
    live = suspended and container is not None and container.state in LIVE_STATES
    fresh_from = container.started_at if container and live else instance.desired.fresh_from
    desired = replace(instance.desired, generation=generation, fresh_from=fresh_from)
    return replace(instance, suspended=suspended, desired=desired)


def want_spec(instance: Instance, spec: Spec) -> Instance:
    """Ask for another spec: its container is proven before the present one is removed."""
    generation = instance.desired.generation + 1
    spec_generation = generation + instance.desired.redraws
    desired = replace(instance.desired, generation=generation, spec_generation=spec_generation, fresh_from=None)
    seen = instance.observed
    # Also what is gone, since it has its claims, and what was never seen: its create may have gone through.
    replacing = Version(instance.spec, instance.desired.spec_generation)
    observed = replace(
        seen,
        container=None,
        gone=False,
        uncertain=False,
        image_missing=False,
        mcp=None,
        restarts=[],
        taken=[],
        fell_back=None,
        previous=seen.container,
        previous_uncertain=seen.uncertain or (seen.container is None and not seen.gone),
    )
    return replace(instance, spec=spec, desired=desired, replacing=replacing, observed=observed)
