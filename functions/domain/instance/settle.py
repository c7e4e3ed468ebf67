"""The way back to the version before, where an update is given up."""

from __future__ import annotations

from dataclasses import replace

from functions.domain.instance.condition import exit_id
from functions.domain.instance.model import Failure, Instance, Reason


def roll_back(instance: Instance) -> Instance:
    """The version before is what is wanted again, and the container of the one that was given up is gone."""
    before, seen, why = instance.previous_version, instance.observed, instance.failure
    assert before is not None and why is not None and seen.previous is not None
    observed = replace(
        seen,
        container=seen.previous,
        absent=False,
        image_missing=False,
        failure=None,
        mcp=None,
        restarts=[],
        refused_ports=[],
        # It was stopped to make room.
        requested_exit=exit_id(seen.previous),
        previous=None,
        rollback_reason=why,
    )
    desired = replace(instance.desired, spec_generation=before.spec_generation)
    return replace(instance, spec=before.spec, desired=desired, previous_version=None, observed=observed)


def report_rollback(instance: Instance) -> Instance:
    """Where an update was given up, the reason stays to be read once that has ended one way or the other."""
    seen, why = instance.observed, instance.observed.rollback_reason
    if why is None:
        return instance
    if failure := instance.failure:
        also = Reason(failure.code, f"{failure.message}; before that an update was given up: {why.message}")
        return replace(
            instance, observed=replace(seen, failure=Failure(instance.desired.generation, also), rollback_reason=None)
        )
    trouble = Reason(why.code, f"{why.message}; the version before serves again")
    return replace(instance, observed=replace(seen, obstacle=trouble, rollback_reason=None))
