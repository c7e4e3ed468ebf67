"""One step about a toolbox, one call, one sighting. No judgement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from functions.domain.errors import DigitalOceanBusy, ToolboxesError
from functions.domain.instance.container import LIVE_STATES
from functions.domain.toolbox import droplet
from functions.domain.toolbox import observe as toolbox_observe
from functions.domain.toolbox.droplet import NewDroplet
from functions.domain.toolbox.model import CreateAttempt, RetiredDroplet, Toolbox
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
from functions.lifecycle.dependencies import Dependencies, Shim
from functions.lifecycle.toolbox import teardown
from shim.contract import errors as shim_errors

# An answer that is not there by then leaves the lease time for what follows.
WITHIN_SECONDS = 10.0


def attempted(toolbox: Toolbox, step: CreateDroplet, token: str, now: datetime) -> Toolbox:
    """What goes on record before a create call is sent. Of the token only the hash is kept."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return replace(toolbox, attempt=CreateAttempt(step.number, now, digest, now + droplet.TOKEN_LIFE))


def execute(
    step: ToolboxStep, deps: Dependencies, toolbox: Toolbox, start_by: datetime, token: str, alive: Callable[[], None]
) -> Toolbox:
    """The toolbox with what this step saw folded in, its error included.

    `token` goes into a new droplet; `alive` is called now and then by what takes long.
    """
    try:
        if isinstance(step, ListContainers | StopContainer | QueryShim | PullShim | UpgradeShim | AwaitUpgrade):
            return _by_shim(step, deps, toolbox, start_by, alive)
        if isinstance(step, RedeployInstances | TearDownInstances | FreeReservations):
            return _instances(step, deps, toolbox, start_by)
        if isinstance(step, CreateDroplet) and deps.now() > start_by:
            # This process was held up: another worker may look for what it has not sent.
            raise DigitalOceanBusy("the create call was not sent in time")
        return _by_api(step, deps, toolbox, token)
    except (shim_errors.ShimError, ToolboxesError) as error:
        return toolbox_observe.fold_error(toolbox, step, error, deps.now())


def _by_api(step: ToolboxStep, deps: Dependencies, toolbox: Toolbox, token: str) -> Toolbox:
    api, own = deps.droplets, toolbox
    match step:
        case OpenFirewall():
            api.open_firewall(step.target)
            return replace(own, has_firewall=True)
        case RemoveFirewall():
            api.remove_firewall(step.target)
            return replace(own, has_firewall=False)
        case CreateDroplet():
            new = NewDroplet(own.id, step.target, own.region, own.size, own.image, token)
            return toolbox_observe.fold_created(own, api.create(new))
        case FindDroplet():
            found = [*api.list_by_name(step.target), *api.list_by_tag(droplet.toolbox_tag(own.id))]
            return toolbox_observe.fold_search(own, found, deps.now())
        case AwaitEnrolment():
            return toolbox_observe.fold_enrolment_wait(own, api.get(step.droplet_id), deps.now())
        case DestroyDroplet():
            api.destroy(step.droplet_id)
            return toolbox_observe.fold_destroy(own, step.droplet_id, deps.now())
        case AwaitRemoval():
            return toolbox_observe.fold_removal(own, step.droplet_id, api.get(step.droplet_id), deps.now())
    raise AssertionError(f"no such step: {step}")


def _by_shim(
    step: ToolboxStep, deps: Dependencies, toolbox: Toolbox, start_by: datetime, alive: Callable[[], None]
) -> Toolbox:
    match step:
        case ListContainers():
            status, _ = _of(deps, toolbox, step.retired).list_containers(start_by=start_by)
            assert status
            running = [one.name for one in status.containers if one.state in LIVE_STATES]
            return toolbox_observe.fold_listing(toolbox, step.retired, running)
        case StopContainer():
            _of(deps, toolbox, step.retired).stop(step.target, start_by=start_by)
            return toolbox_observe.fold_stop(toolbox, step)
        case PullShim():
            shim = deps.shims.for_toolbox(toolbox)
            shim.pull(step.target, start_by=start_by, on_progress=lambda _: alive())
            return toolbox_observe.fold_pull(toolbox)
        case UpgradeShim():
            deps.shims.for_toolbox(toolbox).upgrade(step.target, start_by=start_by)
            return toolbox_observe.fold_upgrade_sent(toolbox, deps.now())
    answer = deps.shims.for_toolbox(toolbox).status(start_by=start_by, timeout=WITHIN_SECONDS)
    seen = toolbox_observe.fold_upgrade_status if isinstance(step, AwaitUpgrade) else toolbox_observe.fold_status
    return seen(toolbox, answer, deps.now())


def _instances(step: ToolboxStep, deps: Dependencies, toolbox: Toolbox, start_by: datetime) -> Toolbox:
    match step:
        case RedeployInstances():
            return replace(toolbox, needs_redeploy=not teardown.redeploy_instances(deps, toolbox))
        case TearDownInstances():
            return replace(toolbox, instances_ended=teardown.end_instances(deps, toolbox, start_by))
    return replace(toolbox, reservations_freed=teardown.free_reservations(deps, toolbox))


def _of(deps: Dependencies, toolbox: Toolbox, retired: RetiredDroplet) -> Shim:
    return deps.shims.for_toolbox(replace(toolbox, address=retired.address, fingerprint=retired.fingerprint))
