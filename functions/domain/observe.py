"""Fold a sighting into what is known. Pure; nothing here decides what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from functions.domain.errors import ToolboxesError, ToolboxUnreachable
from functions.domain.instance import DesiredState, Instance, Observed, Reason
from shim import protocol
from shim.protocol import messages

# The account's spec, its image or the container itself is at fault: trying again would fail again.
FAILURES = (protocol.ImageUnavailable, protocol.StartFailed, protocol.BodyTooLarge, protocol.NameTaken)


def acted(observed: Observed, answer: messages.Acted, now: datetime) -> Observed:
    """The engine was asked and answered: the container as inspected after the act, or its absence."""
    return replace(
        observed,
        container=answer.container,
        gone=answer.container is None,
        at=now,
        reachable=True,
        uncertain=False,
        image_missing=False,
        failure=None,
        trouble=None,
        progress=None,
    )


def pulled(observed: Observed, now: datetime) -> Observed:
    return replace(observed, at=now, reachable=True, image_missing=False, trouble=None, progress=None)


def erred(observed: Observed, error: protocol.ContractError | ToolboxesError, now: datetime) -> Observed:
    """An error is a sighting too: some tell the truth about the container, the rest leave it as last seen."""
    match error:
        case protocol.NoSuchContainer():
            return acted(observed, messages.Acted(container=None, changed=False), now)
        case protocol.NoSuchImage():
            return replace(observed, image_missing=True, reachable=True, trouble=None)
        case protocol.OutcomeUnknown() | protocol.OlderSpec():
            return replace(observed, uncertain=True, trouble=reason(error))
        case ToolboxUnreachable():
            return replace(observed, reachable=False, trouble=reason(error), progress=None)
    if isinstance(error, FAILURES) or type(error) is protocol.Refused:
        return replace(observed, reachable=True, failure=reason(error), trouble=None, progress=None)
    return replace(observed, trouble=reason(error), progress=None)


def concluded(instance: Instance, observed: Observed) -> Instance:
    """The sighting judged against what was wanted: a failure ends this generation; a deletion is never given up."""
    if observed.failure and instance.desired.state is DesiredState.DELETED:
        observed = replace(observed, trouble=observed.failure, failure=None)
    if observed.failure:
        observed = replace(observed, generation=instance.desired.generation)
    return replace(instance, observed=observed)


def reason(error: protocol.ContractError | ToolboxesError) -> Reason:
    return Reason(error.code, error.message if isinstance(error, protocol.ContractError) else error.detail)
