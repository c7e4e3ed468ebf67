"""A toolbox, as it is wanted and as it was last seen, makes a plan. Pure, as decide.py is for instances."""

from __future__ import annotations

from collections.abc import Iterator

from functions.domain import droplet
from functions.domain.plan import Plan
from functions.domain.toolbox import Retired, Toolbox, Upgrade, Wanted
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


def decide(toolbox: Toolbox) -> Plan[ToolboxStep]:
    return Plan(tuple(_steps(toolbox)))


def _steps(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    if toolbox.wanted is Wanted.DEPROVISIONED:
        return _deprovision(toolbox)
    if toolbox.given_up:
        return iter(())
    return _provision(toolbox)


def _provision(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    """The droplets before are quiet before another one serves, and go only afterwards."""
    for retired in toolbox.retired:
        yield from _quiet(retired)
    if toolbox.served_at is None:
        yield from _serve(toolbox)
    elif toolbox.upgrade:
        yield from _upgrade(toolbox.upgrade)
    if toolbox.redeploy:
        yield RedeployInstances("their droplet is new", toolbox.id)
    for retired in toolbox.retired:
        yield from _destroy(retired, "another droplet serves")


def _serve(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    if not toolbox.firewalled:
        yield OpenFirewall("not known to be there", droplet.tag(toolbox.id))
    name = toolbox.droplet_name or ""
    if toolbox.droplet_id is None:
        making = _make(toolbox)
        name = making.target
        yield making
    if toolbox.certificate is None:
        yield AwaitEnrolment("its shim has not enrolled", name, toolbox.droplet_id or "")
    yield AskShim("it has not answered a command yet", name)


def _make(toolbox: Toolbox) -> ToolboxStep:
    attempt = toolbox.attempt
    if attempt and not attempt.over:
        return LookForDroplet("whether its create went through is not known", droplet.name(toolbox.id, attempt.number))
    number = attempt.number + 1 if attempt else 1
    return CreateDroplet("no droplet", droplet.name(toolbox.id, number), number)


def _upgrade(upgrade: Upgrade) -> Iterator[ToolboxStep]:
    if not upgrade.pulled:
        yield PullShim("another shim was asked for", upgrade.image)
    if upgrade.sent_at is None:
        yield UpgradeShim("another shim was asked for", upgrade.image)
    yield AwaitUpgrade("the one before was told to give way", upgrade.image)


def _quiet(retired: Retired) -> Iterator[ToolboxStep]:
    """Where it can be reached; one that never enrolled runs nothing."""
    cause = "another droplet takes its place"
    if retired.fingerprint is None or retired.destroyed_at:
        return
    if retired.running is None:
        yield ListContainers(cause, retired.droplet_name or retired.droplet_id, retired)
    for name in retired.running or ():
        yield StopContainer(cause, name, retired)


def _destroy(retired: Retired, cause: str) -> Iterator[ToolboxStep]:
    name = retired.droplet_name or retired.droplet_id
    if retired.destroyed_at is None:
        yield DestroyDroplet(cause, name, retired.droplet_id)
    yield AwaitGone("the API still knows it", name, retired.droplet_id)


def _deprovision(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    """Nothing waits for a shim here: what it does not say at once is noted as not known."""
    attempt, cause = toolbox.attempt, "desired deprovisioned"
    if attempt and not attempt.over and toolbox.droplet_id is None:
        yield _make(toolbox)
    if not toolbox.farewell:
        yield EndInstances(cause, toolbox.id)
    if toolbox.droplet_id:
        yield from _destroy(Retired(toolbox.droplet_id, toolbox.droplet_name), cause)
    for retired in toolbox.retired:
        yield from _destroy(retired, cause)
    if not toolbox.ended:
        yield FreeClaims("no droplet holds them any more", toolbox.id)
    if toolbox.firewalled is not False:
        yield RemoveFirewall(cause, droplet.tag(toolbox.id))
