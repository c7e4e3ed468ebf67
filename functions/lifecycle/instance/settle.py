"""The end of a pass that left nothing to do: what is written once a generation is reached or given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.instance.model import DesiredState, Instance
from functions.domain.instance.settle import report_rollback
from functions.lifecycle.dependencies import Write
from functions.lifecycle.repository import release_reservations

TOMBSTONE_TTL = timedelta(days=30)


def settle(instance: Instance, now: datetime) -> tuple[Instance, list[Write]]:
    """The instance as it is to be saved, and the reservations that are released in the same commit."""
    final = replace(instance, due_at=None, attempts=0)
    final = replace(final, observed=replace(final.observed, generation=final.desired.generation))
    if final.desired.state is DesiredState.DELETED:
        tombstone = replace(final, previous_version=None, deleted_at=now, expire_at=now + TOMBSTONE_TTL)
        # An instance that is deleted a second time released its reservations before: they may be another's by now.
        return tombstone, [] if instance.deleted_at else release_reservations(instance)
    without_previous = replace(final, previous_version=None, observed=replace(final.observed, previous=None))
    after = report_rollback(without_previous)
    return after, release_reservations(final, after)
