"""The end of a generation: it was reached, given up, or given up and rolled back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.instance.condition import exit_id
from functions.domain.instance.model import DesiredState, Failure, Instance, Reason

# How long a deleted instance's document stays, so that its history can still be read.
TOMBSTONE_TTL = timedelta(days=30)


def settle(instance: Instance, now: datetime) -> Instance:
    """Return the instance once its plan is empty: its generation is reached or given up, and nothing is due."""
    final = replace(instance, previous_version=None, due_at=None, attempts=0)
    final = replace(final, observed=replace(final.observed, generation=final.desired.generation))
    if final.desired.state is DesiredState.DELETED:
        return replace(final, deleted_at=now, expire_at=now + TOMBSTONE_TTL)
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
