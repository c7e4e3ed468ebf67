"""One step about a toolbox, one call, one sighting. No judgement."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from functions.domain import droplet, toolbox_observe
from functions.domain.droplet import NewDroplet
from functions.domain.errors import DigitalOceanBusy, ToolboxesError
from functions.domain.instance import LIVE_STATES
from functions.domain.toolbox import Attempt, Retired, Toolbox
from functions.domain.toolbox_plan import (
    AskShim,
    AwaitEnrolment,
    AwaitGone,
    AwaitUpgrade,
    CreateDroplet,
    DestroyDroplet,
    EndInstances,
    FreeClaims,
    ListContainers,
    LookForDroplet,
    OpenFirewall,
    PullShim,
    RedeployInstances,
    RemoveFirewall,
    StopContainer,
    ToolboxStep,
    UpgradeShim,
)
from functions.lifecycle import farewell
from functions.lifecycle.ports import Ports, Shim
from shim.contract import errors as shim_errors
from shim.contract import messages, routes

# An answer that is not there by then leaves the lease time for what follows.
WITHIN_SECONDS = 10.0


def attempted(toolbox: Toolbox, step: CreateDroplet, token: str, now: datetime) -> Toolbox:
    """What goes on record before a create call is sent. Of the token only the hash is kept."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return replace(toolbox, attempt=Attempt(step.number, now, digest, now + droplet.TOKEN_LIFE))


def execute(
    step: ToolboxStep, ports: Ports, toolbox: Toolbox, start_by: datetime, token: str, alive: Callable[[], None]
) -> Toolbox:
    """The toolbox with what this step saw folded in, its error included.

    `token` goes into a new droplet; `alive` is called now and then by what takes long.
    """
    try:
        if isinstance(step, ListContainers | StopContainer | AskShim | PullShim | UpgradeShim | AwaitUpgrade):
            return _by_shim(step, ports, toolbox, start_by, alive)
        if isinstance(step, RedeployInstances | EndInstances | FreeClaims):
            return _instances(step, ports, toolbox, start_by)
        if isinstance(step, CreateDroplet) and ports.now() > start_by:
            # This process was held up: another worker may look for what it has not sent.
            raise DigitalOceanBusy("the create call was not sent in time")
        return _by_api(step, ports, toolbox, token)
    except (shim_errors.ShimError, ToolboxesError) as error:
        return toolbox_observe.erred(toolbox, step, error, ports.now())


def _by_api(step: ToolboxStep, ports: Ports, toolbox: Toolbox, token: str) -> Toolbox:
    api, own = ports.droplets, toolbox
    match step:
        case OpenFirewall():
            api.open_firewall(step.target)
            return replace(own, firewalled=True)
        case RemoveFirewall():
            api.remove_firewall(step.target)
            return replace(own, firewalled=False)
        case CreateDroplet():
            new = NewDroplet(own.id, step.target, own.region, own.size, own.image, token)
            return toolbox_observe.created(own, api.create(new))
        case LookForDroplet():
            found = [*api.named(step.target), *api.tagged(droplet.tag(own.id))]
            return toolbox_observe.looked_for(own, found, ports.now())
        case AwaitEnrolment():
            return toolbox_observe.awaited(own, api.get(step.droplet_id), ports.now())
        case DestroyDroplet():
            api.destroy(step.droplet_id)
            return toolbox_observe.destroyed(own, step.droplet_id, ports.now())
        case AwaitGone():
            return toolbox_observe.going(own, step.droplet_id, api.get(step.droplet_id), ports.now())
    raise AssertionError(f"no such step: {step}")


def _by_shim(
    step: ToolboxStep, ports: Ports, toolbox: Toolbox, start_by: datetime, alive: Callable[[], None]
) -> Toolbox:
    match step:
        case ListContainers():
            status, _ = _of(ports, toolbox, step.retired).status(start_by=start_by, unless="")
            assert status
            running = [one.name for one in status.containers if one.state in LIVE_STATES]
            return toolbox_observe.listed(toolbox, step.retired, running)
        case StopContainer():
            shim = _of(ports, toolbox, step.retired)
            shim.command(routes.STOP, name=step.target, body=messages.Stop(), start_by=start_by)
            return toolbox_observe.stopped(toolbox, step)
        case PullShim():
            shim = ports.shims.of(toolbox)
            shim.pull(messages.Pull(step.target), start_by=start_by, on_progress=lambda _: alive())
            return toolbox_observe.pulled(toolbox)
        case UpgradeShim():
            ports.shims.of(toolbox).command(routes.UPGRADE, body=messages.Upgrade(step.target), start_by=start_by)
            return toolbox_observe.told_to_upgrade(toolbox, ports.now())
    answer = ports.shims.of(toolbox).command(routes.STATUS, start_by=start_by, query="metrics=1", within=WITHIN_SECONDS)
    assert isinstance(answer, messages.Status)
    seen = toolbox_observe.upgraded if isinstance(step, AwaitUpgrade) else toolbox_observe.answered
    return seen(toolbox, answer, ports.now())


def _instances(step: ToolboxStep, ports: Ports, toolbox: Toolbox, start_by: datetime) -> Toolbox:
    match step:
        case RedeployInstances():
            return replace(toolbox, redeploy=not farewell.redeploy(ports, toolbox))
        case EndInstances():
            return replace(toolbox, farewell=farewell.end(ports, toolbox, start_by))
    return replace(toolbox, ended=farewell.free(ports, toolbox))


def _of(ports: Ports, toolbox: Toolbox, retired: Retired) -> Shim:
    return ports.shims.of(replace(toolbox, address=retired.address, fingerprint=retired.fingerprint))
