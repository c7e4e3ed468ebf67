"""The end of a pass that left nothing to do: what is written once a generation is reached or given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.fallback import told
from functions.domain.instance import DesiredState, Instance
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
    after = told(replace(final, replacing=None, observed=replace(final.observed, previous=None)))
    return after, giving_up(final, after)
