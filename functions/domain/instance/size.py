"""How large an instance's document may be, and which of its parts a document does without where it does not fit.

A document holds 1 MiB (storable.py), and a spec is in it twice during an update.
"""

from __future__ import annotations

from dataclasses import replace

from functions.domain.instance.model import CatalogEntry, Instance, Observed, PreviousVersion, Reason
from functions.domain.instance.spec import Spec

# Of a spec together with the catalogue's copy of the request, as they are stored: names and values, secrets encrypted.
MAX_SPEC_BYTES = 262_144
_MAX_MESSAGE = 200


def spec_alone(instance: Instance) -> Instance:
    """Return the instance with nothing observed and no previous version: what `MAX_SPEC_BYTES` is about."""
    return replace(instance, observed=Observed(), previous_version=None)


def without_large_parts(instance: Instance) -> Instance:
    """Return the instance with only those parts of its specs that its deletion needs.

    Its name, its host ports, its limits, and the secrets that are redacted in a post-mortem. A deletion then fits,
    however large the document was.
    """
    previous = instance.previous_version
    return replace(
        instance,
        spec=_small(instance.spec),
        previous_version=PreviousVersion(_small(previous.spec), previous.spec_generation) if previous else None,
        catalogue=_without_json(instance.catalogue),
    )


def condensed(instance: Instance) -> Instance:
    """Return the instance without what can be observed again and without the catalogue's copy of the request.

    It is no larger than when its spec was requested, and that was stored.
    """
    observed, updating = instance.observed, instance.previous_version is not None
    failure = observed.failure
    minimal = Observed(
        at=observed.at,
        reachable=observed.reachable,
        needs_inspection=True,
        in_flight_until=observed.in_flight_until,
        image_missing=observed.image_missing,
        failure=replace(failure, reason=_short(failure.reason)) if failure else None,
        obstacle=_short(observed.obstacle) if observed.obstacle else None,
        generation=observed.generation,
        requested_exit=observed.requested_exit,
        post_mortem_of=observed.post_mortem_of,
        previous_needs_inspection=updating,
        rollback_reason=_short(observed.rollback_reason) if observed.rollback_reason else None,
    )
    return replace(instance, observed=minimal, catalogue=_without_json(instance.catalogue))


def _small(spec: Spec) -> Spec:
    return replace(spec, command=[], environment={}, volumes=[], health_check=None)


def _without_json(entry: CatalogEntry) -> CatalogEntry:
    return replace(entry, base_config_override_json=None, mcp_capabilities_json=None)


def _short(reason: Reason) -> Reason:
    return Reason(reason.code, reason.message[:_MAX_MESSAGE])
