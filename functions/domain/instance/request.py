"""What an account can request of an instance. Each request is a new generation."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.instance.container import LIVE_STATES
from functions.domain.instance.model import DesiredState, Instance, PreviousVersion
from functions.domain.instance.size import without_large_parts
from functions.domain.instance.spec import Spec


def request_state(instance: Instance, state: DesiredState, *, fresh: bool = False) -> Instance:
    """Request `state`. With `fresh` a container that runs already is started again, that is, restarted."""
    container = instance.observed.container
    dead = container is not None and container.state not in LIVE_STATES
    # A plain start of a container that has ended is a restart too: it makes a finished job run once more, while the
    # reconciler never runs a finished job again on its own account.
    restart_after = container.started_at if container and (fresh or dead) else None
    generation = instance.desired.generation + 1
    desired = replace(instance.desired, state=state, generation=generation, restart_after=restart_after)
    if state is DesiredState.DELETED:
        # Nothing leaves this state. A document at the limit has no room even for the request to delete it.
        return replace(without_large_parts(instance), desired=desired)
    return replace(instance, desired=desired)


def request_suspension(instance: Instance, suspended: bool) -> Instance:
    """Suspend the instance, which keeps it stopped, or end that. The state that the account desires stays."""
    container, generation = instance.observed.container, instance.desired.generation + 1
    live = suspended and container is not None and container.state in LIVE_STATES
    # A job that the suspension stops is to be run again afterwards, even if its restart policy says "no".
    restart_after = container.started_at if container and live else instance.desired.restart_after
    desired = replace(instance.desired, generation=generation, restart_after=restart_after)
    return replace(instance, suspended=suspended, desired=desired)


def request_spec(instance: Instance, spec: Spec) -> Instance:
    """Request another spec: its container is proven before the present one is removed."""
    generation, observed = instance.desired.generation + 1, instance.observed
    spec_generation = generation + instance.desired.reallocations
    desired = replace(instance.desired, generation=generation, spec_generation=spec_generation, restart_after=None)
    # Also where the present version has no container: it has reservations, and a create whose answer was lost may
    # still make one.
    present = PreviousVersion(instance.spec, instance.desired.spec_generation)
    observed = replace(
        observed,
        container=None,
        absent=False,
        needs_inspection=False,
        image_missing=False,
        mcp=None,
        restarts=[],
        refused_ports=[],
        rollback_reason=None,
        previous=observed.container,
        previous_needs_inspection=observed.needs_inspection or (observed.container is None and not observed.absent),
    )
    return replace(instance, spec=spec, desired=desired, previous_version=present, observed=observed)
