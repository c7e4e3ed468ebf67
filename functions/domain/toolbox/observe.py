"""Fold an observation into a toolbox: an answer of DigitalOcean or of the shim, or an error.

Pure. What to do next is decided in decide.py, from the result alone.
"""

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

STATUS_WHEN_STARTED = {
    ToolboxStatus.PENDING_PROVISION: ToolboxStatus.PROVISIONING,
    ToolboxStatus.PENDING_DEPROVISION: ToolboxStatus.DEPROVISIONING,
    ToolboxStatus.ERROR_DEPROVISIONING: ToolboxStatus.DEPROVISIONING,
}
# A destroy call that has had no effect by then is repeated.
DESTROY_TIMEOUT = timedelta(minutes=2)
# The shim's helper needs up to 30 s each to try the new shim, to replace the old one, and to roll back.
UPGRADE_TIMEOUT = timedelta(minutes=3)
# Errors of an upgrade that a retry does not mend: no registry has the image, or the shim has no upgrade route.
PERMANENT_UPGRADE_ERRORS = (shim_errors.ImageUnavailable, shim_errors.NoSuchImage, shim_errors.UnknownRoute)


def begin(toolbox: Toolbox) -> Toolbox:
    """Start a pass: move a pending status on, and forget the obstacle of the last pass."""
    return replace(
        toolbox, status=STATUS_WHEN_STARTED.get(toolbox.status, toolbox.status), obstacle=None, not_before=None
    )


def fold_created(toolbox: Toolbox, created: Droplet) -> Toolbox:
    """Fold in the droplet that the last create call made."""
    assert toolbox.attempt
    resolved = replace(toolbox.attempt, resolved=True)
    return _fold_droplet(replace(toolbox, attempt=resolved, droplet_id=created.id, droplet_name=created.name), created)


def fold_search(toolbox: Toolbox, found: Sequence[Droplet], now: datetime) -> Toolbox:
    """Fold in the droplets that were found by name or by tag after a create call without an answer.

    The droplet with the attempt's name is the one that the call made. That there is none is believed only after
    CREATE_SETTLES_WITHIN, because a new droplet appears late in lists.
    """
    attempt = toolbox.attempt
    assert attempt
    created = [box for box in found if box.name == droplet.droplet_name(toolbox.id, attempt.number)]
    if created:
        return fold_created(toolbox, min(created, key=lambda box: (box.created_at, box.id)))
    is_settled = now - attempt.sent_at >= droplet.CREATE_SETTLES_WITHIN
    return replace(toolbox, attempt=replace(attempt, resolved=True)) if is_settled else toolbox


def fold_enrolment_wait(toolbox: Toolbox, found: Droplet | None, now: datetime) -> Toolbox:
    """Fold in the droplet whose shim is to enrol; None where the API does not know it.

    The toolbox fails where the droplet was destroyed, or its enrolment token has expired.
    """
    attempt = toolbox.attempt
    assert attempt
    if found is None:
        if now - attempt.sent_at < droplet.CREATE_SETTLES_WITHIN:
            return toolbox
        return fail(
            toolbox, Reason("droplet-gone", "The droplet was destroyed outside of Toolboxes. Rebuild the toolbox.")
        )
    if now >= attempt.expires_at:
        minutes = droplet.TOKEN_LIFE.total_seconds() / 60
        message = f"The droplet's shim did not enrol within {minutes:.0f} minutes. Rebuild the toolbox."
        return fail(_fold_droplet(toolbox, found), Reason("not-enrolled", message))
    return _fold_droplet(toolbox, found)


def fold_enrolment(toolbox: Toolbox, found: Droplet, certificate: str, fingerprint: str) -> Toolbox:
    """Fold in a shim's enrolment.

    The containers of retired droplets are listed again, since commands to them may have been in flight.
    """
    retired = [replace(box, running=None) for box in toolbox.retired]
    known = fold_created(toolbox, found) if toolbox.droplet_id is None else _fold_droplet(toolbox, found)
    return replace(known, certificate=certificate, fingerprint=fingerprint, retired=retired)


def fold_status(toolbox: Toolbox, status: ShimStatus, now: datetime) -> Toolbox:
    """Fold in a shim's answer to a status query."""
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
    """Fold in the status of the shim that answers during an upgrade: the new one, or still the old one."""
    upgrade, observed = toolbox.upgrade, fold_status(toolbox, status, now)
    assert upgrade
    if status.shim_image == upgrade.image:
        return replace(observed, upgrade=None)
    overdue = upgrade.sent_at and now - upgrade.sent_at > UPGRADE_TIMEOUT
    message = f"The earlier shim still serves ({status.shim_image or 'image unknown'}): the new one did not start."
    return fail(observed, Reason("upgrade-failed", message)) if overdue else observed


def fold_pull(toolbox: Toolbox) -> Toolbox:
    """Record that the new shim's image is on the droplet."""
    assert toolbox.upgrade
    return replace(toolbox, upgrade=replace(toolbox.upgrade, pulled=True))


def fold_upgrade_sent(toolbox: Toolbox, now: datetime) -> Toolbox:
    """Record that the shim was told to replace itself."""
    assert toolbox.upgrade
    return replace(toolbox, upgrade=replace(toolbox.upgrade, sent_at=now))


def fold_listing(toolbox: Toolbox, retired: RetiredDroplet, running: list[str]) -> Toolbox:
    """Fold in the names of the containers that run on a retired droplet."""
    return _replace_retired(toolbox, retired.droplet_id, replace(retired, running=running))


def fold_stop(toolbox: Toolbox, step: StopContainer) -> Toolbox:
    """Record that a container of a retired droplet was stopped."""
    still_running = [name for name in step.retired.running or () if name != step.target]
    return _replace_retired(toolbox, step.retired.droplet_id, replace(step.retired, running=still_running))


def fold_destroy(toolbox: Toolbox, droplet_id: str, now: datetime) -> Toolbox:
    """Record that the API has accepted the destroy call. The droplet is gone once the API no longer knows it."""
    if toolbox.droplet_id != droplet_id:
        [known] = [box for box in toolbox.retired if box.droplet_id == droplet_id]
        return _replace_retired(toolbox, droplet_id, replace(known, destroyed_at=now))
    retired = RetiredDroplet(droplet_id, toolbox.droplet_name, running=[], destroyed_at=now)
    without = replace(toolbox, droplet_id=None, droplet_name=None, droplet_state=None, address=None, fingerprint=None)
    return replace(without, retired=[*toolbox.retired, retired])


def fold_removal(toolbox: Toolbox, droplet_id: str, found: Droplet | None, now: datetime) -> Toolbox:
    """Fold in a retired droplet, None where the API no longer knows it."""
    [known] = [box for box in toolbox.retired if box.droplet_id == droplet_id]
    if found is None:
        return replace(toolbox, retired=[box for box in toolbox.retired if box != known])
    overdue = known.destroyed_at and now - known.destroyed_at > DESTROY_TIMEOUT
    return _replace_retired(toolbox, droplet_id, replace(known, destroyed_at=None)) if overdue else toolbox


def fold_error(toolbox: Toolbox, step: ToolboxStep, error: Problem, now: datetime) -> Toolbox:
    """Fold in the error of a step.

    An error is an observation too: some mean that nothing was done, and after others the outcome is unknown.
    """
    if isinstance(step, ListContainers | StopContainer):
        # A retired droplet that cannot be reached does not hold up the rest. Its containers end with it.
        return _replace_retired(toolbox, step.retired.droplet_id, replace(step.retired, running=[]))
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
            not_before = now + timedelta(seconds=error.retry_after)
            return replace(toolbox, obstacle=reason_of(error), not_before=not_before)
        case DigitalOceanUnknown() | DigitalOceanRefused():
            return replace(toolbox, obstacle=reason_of(error))
    if isinstance(step, PullShim | UpgradeShim):
        is_permanent = isinstance(error, PERMANENT_UPGRADE_ERRORS) or type(error) is shim_errors.Refused
        return fail(toolbox, reason_of(error)) if is_permanent else replace(toolbox, obstacle=reason_of(error))
    if isinstance(step, AwaitUpgrade):
        overdue = toolbox.upgrade and toolbox.upgrade.sent_at and now - toolbox.upgrade.sent_at > UPGRADE_TIMEOUT
        message = f"No shim answers after the upgrade: {reason_of(error).message}"
        return fail(toolbox, Reason("upgrade-failed", message)) if overdue else toolbox
    # A shim that has just enrolled may need a moment to start serving, so its silence is no obstacle.
    return toolbox if isinstance(step, QueryShim) else replace(toolbox, obstacle=reason_of(error))


def fail(toolbox: Toolbox, reason: Reason) -> Toolbox:
    """Fail the present generation for good. A toolbox that serves keeps its status and goes on serving."""
    is_provisioning = toolbox.status is ToolboxStatus.PROVISIONING
    status = ToolboxStatus.ERROR_PROVISIONING if is_provisioning else toolbox.status
    failure = Failure(toolbox.generation, reason)
    return replace(toolbox, status=status, failure=failure, obstacle=None, upgrade=None)


def settle(toolbox: Toolbox, now: datetime) -> Toolbox:
    """Mark the present generation as reached or failed: nothing is left to do."""
    settled = replace(toolbox, observed_generation=toolbox.generation, due_at=None, attempts=0)
    if settled.desired_state is ToolboxState.PROVISIONED:
        return settled
    return replace(settled, status=ToolboxStatus.DEPROVISIONED, deprovisioned_at=now)


def _fold_droplet(toolbox: Toolbox, found: Droplet) -> Toolbox:
    return replace(toolbox, droplet_state=found.state, address=found.address or toolbox.address)


def _replace_retired(toolbox: Toolbox, droplet_id: str, by: RetiredDroplet) -> Toolbox:
    return replace(toolbox, retired=[by if box.droplet_id == droplet_id else box for box in toolbox.retired])
