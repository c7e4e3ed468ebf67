"""A toolbox, as it is wanted and as it was last seen, makes a plan. Pure, as decide.py is for instances."""

from __future__ import annotations

from collections.abc import Iterator

from functions.domain.plan import Plan
from functions.domain.toolbox import droplet
from functions.domain.toolbox.model import RetiredDroplet, ShimUpgrade, Toolbox, ToolboxState
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


def decide(toolbox: Toolbox) -> Plan[ToolboxStep]:
    return Plan(tuple(_steps(toolbox)))


def _steps(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    if toolbox.desired_state is ToolboxState.DEPROVISIONED:
        return _deprovision(toolbox)
    if toolbox.failure_reason:
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
    if toolbox.needs_redeploy:
        yield RedeployInstances("their droplet is new", toolbox.id)
    for retired in toolbox.retired:
        yield from _destroy(retired, "another droplet serves")


def _serve(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    if not toolbox.has_firewall:
        yield OpenFirewall("not known to be there", droplet.toolbox_tag(toolbox.id))
    name = toolbox.droplet_name or ""
    if toolbox.droplet_id is None:
        making = _make(toolbox)
        name = making.target
        yield making
    if toolbox.certificate is None:
        yield AwaitEnrolment("its shim has not enrolled", name, toolbox.droplet_id or "")
    yield QueryShim("it has not answered a command yet", name)


def _make(toolbox: Toolbox) -> ToolboxStep:
    attempt = toolbox.attempt
    if attempt and not attempt.resolved:
        return FindDroplet(
            "whether its create went through is not known", droplet.droplet_name(toolbox.id, attempt.number)
        )
    number = attempt.number + 1 if attempt else 1
    return CreateDroplet("no droplet", droplet.droplet_name(toolbox.id, number), number)


def _upgrade(upgrade: ShimUpgrade) -> Iterator[ToolboxStep]:
    if not upgrade.pulled:
        yield PullShim("another shim was asked for", upgrade.image)
    if upgrade.sent_at is None:
        yield UpgradeShim("another shim was asked for", upgrade.image)
    yield AwaitUpgrade("the one before was told to give way", upgrade.image)


def _quiet(retired: RetiredDroplet) -> Iterator[ToolboxStep]:
    """Where it can be reached; one that never enrolled runs nothing."""
    cause = "another droplet takes its place"
    if retired.fingerprint is None or retired.destroyed_at:
        return
    if retired.running is None:
        yield ListContainers(cause, retired.droplet_name or retired.droplet_id, retired)
    for name in retired.running or ():
        yield StopContainer(cause, name, retired)


def _destroy(retired: RetiredDroplet, cause: str) -> Iterator[ToolboxStep]:
    name = retired.droplet_name or retired.droplet_id
    if retired.destroyed_at is None:
        yield DestroyDroplet(cause, name, retired.droplet_id)
    yield AwaitRemoval("the API still knows it", name, retired.droplet_id)


def _deprovision(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    """Nothing waits for a shim here: what it does not say at once is noted as not known."""
    attempt, cause = toolbox.attempt, "desired deprovisioned"
    if attempt and not attempt.resolved and toolbox.droplet_id is None:
        yield _make(toolbox)
    if not toolbox.instances_ended:
        yield TearDownInstances(cause, toolbox.id)
    if toolbox.droplet_id:
        yield from _destroy(RetiredDroplet(toolbox.droplet_id, toolbox.droplet_name), cause)
    for retired in toolbox.retired:
        yield from _destroy(retired, cause)
    if not toolbox.reservations_freed:
        yield FreeReservations("no droplet holds them any more", toolbox.id)
    if toolbox.has_firewall is not False:
        yield RemoveFirewall(cause, droplet.toolbox_tag(toolbox.id))
