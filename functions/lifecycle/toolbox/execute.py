"""Execute one step of a toolbox's plan: one call, and what it showed folded into the toolbox.

Nothing is decided here. An error is folded in like any other observation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from functions.domain.errors import DigitalOceanBusy, ToolboxesError
from functions.domain.instance.container import LIVE_STATES
from functions.domain.toolbox import droplet, observe
from functions.domain.toolbox.droplet import NewDroplet
from functions.domain.toolbox.model import CreateAttempt, Toolbox
from functions.domain.toolbox.steps import (
    AwaitEnrolment,
    AwaitRemoval,
    AwaitUpgrade,
    CreateDroplet,
    DestroyDroplet,
    FindDroplet,
    FreeReservations,
    ListContainers,
    OpenFirewall,
    PullShim,
    QueryShim,
    RedeployInstances,
    RemoveFirewall,
    StopContainer,
    TearDownInstances,
    ToolboxStep,
    UpgradeShim,
)
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.toolbox import teardown
from shim.contract import errors as shim_errors

# Short enough that the lease lasts for what follows.
STATUS_SECONDS = 10.0


def attempted(toolbox: Toolbox, step: CreateDroplet, token: str, now: datetime) -> Toolbox:
    """Return the toolbox as it is saved before the create call; only the hash of the enrolment token is stored."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return replace(toolbox, attempt=CreateAttempt(step.number, now, digest, now + droplet.TOKEN_LIFE))


def execute(
    step: ToolboxStep,
    deps: Dependencies,
    toolbox: Toolbox,
    start_by: datetime,
    token: str,
    keep_lease: Callable[[], None],
) -> Toolbox:
    """Return the toolbox with what this step observed folded in, its error included.

    `token` is the enrolment token of a new droplet. A call that takes long calls `keep_lease` now and then.
    """
    try:
        match step:
            case ListContainers() | StopContainer():
                return _on_retired_droplet(step, deps, toolbox, start_by)
            case QueryShim() | PullShim() | UpgradeShim() | AwaitUpgrade():
                return _by_shim(step, deps, toolbox, start_by, keep_lease)
            case RedeployInstances():
                return replace(toolbox, needs_redeploy=not teardown.redeploy_instances(deps, toolbox))
            case TearDownInstances():
                return replace(toolbox, instances_ended=teardown.end_instances(deps, toolbox, start_by))
            case FreeReservations():
                return replace(toolbox, reservations_freed=teardown.free_reservations(deps, toolbox))
            case CreateDroplet() if deps.now() > start_by:
                # This process was held up. Another worker may be looking for the droplet already, and would not find
                # one that is created after that.
                raise DigitalOceanBusy("The create call was not sent in time.")
        return _by_api(step, deps, toolbox, token)
    except (shim_errors.ShimError, ToolboxesError) as error:
        return observe.fold_error(toolbox, step, error, deps.now())


def _by_api(step: ToolboxStep, deps: Dependencies, toolbox: Toolbox, token: str) -> Toolbox:
    api = deps.droplets
    match step:
        case OpenFirewall():
            api.open_firewall(step.target)
            return replace(toolbox, has_firewall=True)
        case RemoveFirewall():
            api.remove_firewall(step.target)
            return replace(toolbox, has_firewall=False)
        case CreateDroplet():
            new = NewDroplet(toolbox.id, step.target, toolbox.region, toolbox.size, toolbox.image, token)
            return observe.fold_created(toolbox, api.create(new))
        case FindDroplet():
            found = [*api.list_by_name(step.target), *api.list_by_tag(droplet.toolbox_tag(toolbox.id))]
            return observe.fold_search(toolbox, found, deps.now())
        case AwaitEnrolment():
            return observe.fold_enrolment_wait(toolbox, api.get(step.droplet_id), deps.now())
        case DestroyDroplet():
            api.destroy(step.droplet_id)
            return observe.fold_destroy(toolbox, step.droplet_id, deps.now())
        case AwaitRemoval():
            return observe.fold_removal(toolbox, step.droplet_id, api.get(step.droplet_id), deps.now())
    raise AssertionError(f"no call for step {step}")


def _by_shim(
    step: ToolboxStep, deps: Dependencies, toolbox: Toolbox, start_by: datetime, keep_lease: Callable[[], None]
) -> Toolbox:
    shim = deps.shims.for_toolbox(toolbox)
    match step:
        case PullShim():
            shim.pull(step.target, start_by=start_by, on_progress=lambda _: keep_lease())
            return observe.fold_pull(toolbox)
        case UpgradeShim():
            shim.upgrade(step.target, start_by=start_by)
            return observe.fold_upgrade_sent(toolbox, deps.now())
    status = shim.status(start_by=start_by, timeout=STATUS_SECONDS)
    fold = observe.fold_upgrade_status if isinstance(step, AwaitUpgrade) else observe.fold_status
    return fold(toolbox, status, deps.now())


def _on_retired_droplet(
    step: ListContainers | StopContainer, deps: Dependencies, toolbox: Toolbox, start_by: datetime
) -> Toolbox:
    retired = step.retired
    shim = deps.shims.for_toolbox(replace(toolbox, address=retired.address, fingerprint=retired.fingerprint))
    if isinstance(step, StopContainer):
        shim.stop(step.target, start_by=start_by)
        return observe.fold_stop(toolbox, step)
    status, _ = shim.list_containers(start_by=start_by)
    assert status
    live = [container.name for container in status.containers if container.state in LIVE_STATES]
    return observe.fold_listing(toolbox, retired, live)
