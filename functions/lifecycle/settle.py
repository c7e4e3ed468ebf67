"""The end of a pass that left nothing to do: what is written once a generation is reached or given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.instance import DesiredState, Instance, Reason
from functions.lifecycle.documents import giving_up
from functions.lifecycle.ports import Write

TOMBSTONE = timedelta(days=30)


def settled(instance: Instance, now: datetime) -> tuple[Instance, list[Write]]:
    """The instance as it is to be saved, and the claims that are given up with it."""
    final = replace(instance, due_at=None, attempts=0)
    final = replace(final, observed=replace(final.observed, generation=final.desired.generation))
    if final.desired.state is DesiredState.DELETED:
        gone = replace(final, replacing=None, deleted_at=now, expire_at=now + TOMBSTONE)
        # Deleted again: its name and ports may be another's by now.
        return gone, [] if instance.deleted_at else giving_up(instance)
    if final.replacing is None:
        return final, []
    after = _fallen_back(final) if final.failure and final.observed.previous else _replaced(final)
    return after, giving_up(final, after)


def _replaced(instance: Instance) -> Instance:
    return replace(instance, replacing=None, observed=replace(instance.observed, previous=None))


def _fallen_back(instance: Instance) -> Instance:
    """The version before serves again, under its own spec; the reason stays to be read."""
    before, seen, why = instance.replacing, instance.observed, instance.failure
    assert before is not None and why is not None
    told = Reason(why.code, f"{why.message}; the version before serves again")
    observed = replace(
        seen, container=seen.previous, gone=False, previous=None, failure=None, trouble=told, restarts=[]
    )
    desired = replace(instance.desired, spec_generation=before.spec_generation)
    return replace(instance, spec=before.spec, desired=desired, replacing=None, observed=observed)
