"""The end of a pass that left nothing to do: what is written once a generation is reached or given up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.instance import DesiredState, Instance, Reason
from functions.domain.spec import Spec
from functions.lifecycle.documents import claims, port_ref
from functions.lifecycle.ports import Delete, Write

TOMBSTONE = timedelta(days=30)


def settled(instance: Instance, now: datetime) -> tuple[Instance, list[Write]]:
    """The instance as it is to be saved, and the claims that are given up with it."""
    final = replace(instance, due_at=None, attempts=0)
    final = replace(final, observed=replace(final.observed, generation=final.desired.generation))
    if final.desired.state is DesiredState.DELETED:
        gone = replace(final, replacing=None, deleted_at=now, expire_at=now + TOMBSTONE)
        if instance.deleted_at:
            return gone, []  # Deleted again: its name and ports may be another's by now.
        held: list[Write] = [Delete(ref) for ref in claims(gone)]
        held += _ports(gone, instance.replacing.spec, but=gone.spec) if instance.replacing else []
        return gone, held
    if final.replacing is None:
        return final, []
    return _fallen_back(final) if final.failure and final.observed.previous else _replaced(final)


def _replaced(instance: Instance) -> tuple[Instance, list[Write]]:
    assert instance.replacing is not None
    freed = _ports(instance, instance.replacing.spec, but=instance.spec)
    observed = replace(instance.observed, previous=None)
    return replace(instance, replacing=None, observed=observed), freed


def _fallen_back(instance: Instance) -> tuple[Instance, list[Write]]:
    """The version before serves again, under its own spec; the reason stays to be read."""
    before, seen, why = instance.replacing, instance.observed, instance.failure
    assert before is not None and why is not None
    freed = _ports(instance, instance.spec, but=before.spec)
    told = Reason(why.code, f"{why.message}; the version before serves again")
    observed = replace(
        seen, container=seen.previous, gone=False, previous=None, failure=None, trouble=told, restarts=[]
    )
    desired = replace(instance.desired, spec_generation=before.spec_generation)
    return replace(instance, spec=before.spec, desired=desired, replacing=None, observed=observed), freed


def _ports(instance: Instance, of: Spec, *, but: Spec) -> list[Write]:
    kept = {port_ref(instance.toolbox_id, port) for port in but.ports}
    freed = [port_ref(instance.toolbox_id, port) for port in of.ports]
    return [Delete(ref) for ref in freed if ref not in kept]
