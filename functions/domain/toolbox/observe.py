"""Fold into a toolbox what was seen of its droplet. Pure; what to do about it is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions.domain.errors import DigitalOceanBusy, DigitalOceanRefused, DigitalOceanUnknown
from functions.domain.instance.model import Failure, Reason
from functions.domain.instance.observe import Problem, reason_of
from functions.domain.toolbox import droplet
from functions.domain.toolbox.droplet import Droplet
from functions.domain.toolbox.model import RetiredDroplet, Toolbox, ToolboxState, ToolboxStatus
from functions.domain.toolbox.shim import ShimStatus
from functions.domain.toolbox.steps import (
    AwaitUpgrade,
    CreateDroplet,
    ListContainers,
    OpenFirewall,
    PullShim,
    QueryShim,
    StopContainer,
    ToolboxStep,
    UpgradeShim,
)
from shim.contract import errors as shim_errors

BEGUN = {
    ToolboxStatus.PENDING_PROVISION: ToolboxStatus.PROVISIONING,
    ToolboxStatus.PENDING_DEPROVISION: ToolboxStatus.DEPROVISIONING,
    ToolboxStatus.ERROR_DEPROVISIONING: ToolboxStatus.DEPROVISIONING,
}
# An order to destroy that has had no effect by then is given again.
GOES_WITHIN = timedelta(minutes=2)
# Proving, replacing and if need be going back take the shim's helper up to half a minute each.
UPGRADED_WITHIN = timedelta(minutes=3)
# An image that no registry has, or a shim that will not be replaced by it: asking again changes nothing.
FINAL = (shim_errors.ImageUnavailable, shim_errors.NoSuchImage, shim_errors.UnknownRoute)


def begin(toolbox: Toolbox) -> Toolbox:
    """A worker takes it up."""
    return replace(toolbox, status=BEGUN.get(toolbox.status, toolbox.status), obstacle=None, not_before=None)


def fold_created(toolbox: Toolbox, made: Droplet) -> Toolbox:
    assert toolbox.attempt
    over = replace(toolbox.attempt, resolved=True)
    return _shown(replace(toolbox, attempt=over, droplet_id=made.id, droplet_name=made.name), made)


def fold_search(toolbox: Toolbox, found: Sequence[Droplet], now: datetime) -> Toolbox:
    """What carries the attempt's name is what it has made. That there is none is believed only after a while."""
    attempt = toolbox.attempt
    assert attempt
    ours = [one for one in found if one.name == droplet.droplet_name(toolbox.id, attempt.number)]
    if ours:
        return fold_created(toolbox, min(ours, key=lambda one: (one.created_at, one.id)))
    settle = now - attempt.sent_at >= droplet.CREATE_SETTLES_WITHIN
    return replace(toolbox, attempt=replace(attempt, resolved=True)) if settle else toolbox


def fold_enrolment_wait(toolbox: Toolbox, seen: Droplet | None, now: datetime) -> Toolbox:
    """A droplet that is to enrol, as the API tells of it; given up where it is gone or its token has expired."""
    attempt = toolbox.attempt
    assert attempt
    if seen is None:
        gone = now - attempt.sent_at >= droplet.CREATE_SETTLES_WITHIN
        return fail(toolbox, Reason("droplet-gone", "the droplet was destroyed by another")) if gone else toolbox
    if now >= attempt.expires_at:
        minutes = droplet.TOKEN_LIFE.total_seconds() / 60
        told = f"the droplet did not enrol within {minutes:.0f} minutes"
        return fail(_shown(toolbox, seen), Reason("not-enrolled", told))
    return _shown(toolbox, seen)


def fold_enrolment(toolbox: Toolbox, seen: Droplet, certificate: str, fingerprint: str) -> Toolbox:
    """Whatever runs on the droplets before it is to be listed once more, since commands may have been on their way."""
    retired = [replace(one, running=None) for one in toolbox.retired]
    known = fold_created(toolbox, seen) if toolbox.droplet_id is None else _shown(toolbox, seen)
    return replace(known, certificate=certificate, fingerprint=fingerprint, retired=retired)


def fold_status(toolbox: Toolbox, status: ShimStatus, now: datetime) -> Toolbox:
    return replace(
        toolbox,
        status=ToolboxStatus.ACTIVE,
        served_at=toolbox.served_at or now,
        engine_id=status.engine_id,
        shim_version=status.version,
        shim_image=status.shim_image or toolbox.shim_image,
        contract=status.contract,
        metrics=status.metrics or toolbox.metrics,
        last_heartbeat_at=now,
    )


def fold_upgrade_status(toolbox: Toolbox, status: ShimStatus, now: datetime) -> Toolbox:
    """Whether the shim that was asked for answers by now."""
    upgrade, seen = toolbox.upgrade, fold_status(toolbox, status, now)
    assert upgrade
    if status.shim_image == upgrade.image:
        return replace(seen, upgrade=None)
    overdue = upgrade.sent_at and now - upgrade.sent_at > UPGRADED_WITHIN
    told = f"the shim {status.shim_image or 'before'} serves on"
    return fail(seen, Reason("upgrade-failed", told)) if overdue else seen


def fold_pull(toolbox: Toolbox) -> Toolbox:
    assert toolbox.upgrade
    return replace(toolbox, upgrade=replace(toolbox.upgrade, pulled=True))


def fold_upgrade_sent(toolbox: Toolbox, now: datetime) -> Toolbox:
    assert toolbox.upgrade
    return replace(toolbox, upgrade=replace(toolbox.upgrade, sent_at=now))


def fold_listing(toolbox: Toolbox, retired: RetiredDroplet, running: list[str]) -> Toolbox:
    return _retired(toolbox, retired.droplet_id, replace(retired, running=running))


def fold_stop(toolbox: Toolbox, step: StopContainer) -> Toolbox:
    left = [name for name in step.retired.running or () if name != step.target]
    return _retired(toolbox, step.retired.droplet_id, replace(step.retired, running=left))


def fold_destroy(toolbox: Toolbox, droplet_id: str, now: datetime) -> Toolbox:
    """The API has taken the order; that the droplet is gone it has yet to say."""
    if toolbox.droplet_id != droplet_id:
        [known] = [one for one in toolbox.retired if one.droplet_id == droplet_id]
        return _retired(toolbox, droplet_id, replace(known, destroyed_at=now))
    before = RetiredDroplet(droplet_id, toolbox.droplet_name, running=[], destroyed_at=now)
    without = replace(toolbox, droplet_id=None, droplet_name=None, droplet_state=None, address=None, fingerprint=None)
    return replace(without, retired=[*toolbox.retired, before])


def fold_removal(toolbox: Toolbox, droplet_id: str, seen: Droplet | None, now: datetime) -> Toolbox:
    [known] = [one for one in toolbox.retired if one.droplet_id == droplet_id]
    if seen is None:
        return replace(toolbox, retired=[one for one in toolbox.retired if one != known])
    overdue = known.destroyed_at and now - known.destroyed_at > GOES_WITHIN
    return _retired(toolbox, droplet_id, replace(known, destroyed_at=None)) if overdue else toolbox


def fold_error(toolbox: Toolbox, step: ToolboxStep, error: Problem, now: datetime) -> Toolbox:
    """An error is a sighting too: some tell that nothing was done, others tell nothing."""
    if isinstance(step, ListContainers | StopContainer):
        # It cannot be reached, or not well enough: what it runs goes with it.
        return _retired(toolbox, step.retired.droplet_id, replace(step.retired, running=[]))
    if isinstance(step, CreateDroplet) and not isinstance(error, DigitalOceanUnknown):
        assert toolbox.attempt
        toolbox = replace(toolbox, attempt=replace(toolbox.attempt, resolved=True))
    match error:
        case DigitalOceanUnknown() if isinstance(step, CreateDroplet):
            return toolbox
        case DigitalOceanRefused() if isinstance(step, CreateDroplet | OpenFirewall):
            return fail(toolbox, reason_of(error))
        case DigitalOceanRefused() if toolbox.desired_state is ToolboxState.DEPROVISIONED:
            return replace(toolbox, status=ToolboxStatus.ERROR_DEPROVISIONING, obstacle=reason_of(error))
        case DigitalOceanBusy():
            later = now + timedelta(seconds=error.retry_after)
            return replace(toolbox, obstacle=reason_of(error), not_before=later)
        case DigitalOceanUnknown() | DigitalOceanRefused():
            return replace(toolbox, obstacle=reason_of(error))
    if isinstance(step, PullShim | UpgradeShim):
        final = isinstance(error, FINAL) or type(error) is shim_errors.Refused
        return fail(toolbox, reason_of(error)) if final else replace(toolbox, obstacle=reason_of(error))
    if isinstance(step, AwaitUpgrade):
        overdue = toolbox.upgrade and toolbox.upgrade.sent_at and now - toolbox.upgrade.sent_at > UPGRADED_WITHIN
        return (
            fail(toolbox, Reason("upgrade-failed", f"no shim answers: {reason_of(error).message}"))
            if overdue
            else toolbox
        )
    # A shim that has just enrolled may need a moment more.
    return toolbox if isinstance(step, QueryShim) else replace(toolbox, obstacle=reason_of(error))


def fail(toolbox: Toolbox, why: Reason) -> Toolbox:
    """This generation is given up. A toolbox that serves goes on serving."""
    being_made = toolbox.status is ToolboxStatus.PROVISIONING
    status = ToolboxStatus.ERROR_PROVISIONING if being_made else toolbox.status
    failure = Failure(toolbox.generation, why)
    return replace(toolbox, status=status, failure=failure, obstacle=None, upgrade=None)


def settle(toolbox: Toolbox, now: datetime) -> Toolbox:
    """Nothing is left to do: the generation is reached, or was given up."""
    final = replace(toolbox, observed_generation=toolbox.generation, due_at=None, attempts=0)
    if final.desired_state is ToolboxState.PROVISIONED:
        return final
    return replace(final, status=ToolboxStatus.DEPROVISIONED, deprovisioned_at=now)


def _shown(toolbox: Toolbox, seen: Droplet) -> Toolbox:
    return replace(toolbox, droplet_state=seen.state, address=seen.address or toolbox.address)


def _retired(toolbox: Toolbox, droplet_id: str, by: RetiredDroplet) -> Toolbox:
    return replace(toolbox, retired=[by if one.droplet_id == droplet_id else one for one in toolbox.retired])
