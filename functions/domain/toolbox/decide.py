"""Decide what to do about a toolbox: desired and last observed state make a plan.

Pure, so that every case is a test that compares printed plans. The plan is made again after each step.
"""

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
    """Return the steps that are left, empty where the toolbox is as desired or has failed."""
    return Plan(tuple(_steps(toolbox)))


def _steps(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    if toolbox.desired_state is ToolboxState.DEPROVISIONED:
        return _deprovision(toolbox)
    if toolbox.failure_reason:
        return iter(())
    return _provision(toolbox)


def _provision(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    """Provision, rebuild or upgrade.

    On a rebuild the containers of the earlier droplet are stopped before the new one serves, since two copies of an
    instance must not run. The earlier droplet is destroyed only afterwards, so that a failed rebuild loses nothing.
    """
    for retired in toolbox.retired:
        yield from _stop_containers(retired)
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
        yield OpenFirewall("the firewall is not known to exist", droplet.toolbox_tag(toolbox.id))
    name = toolbox.droplet_name or ""
    if toolbox.droplet_id is None:
        creation = _create(toolbox)
        name = creation.target
        yield creation
    if toolbox.certificate is None:
        yield AwaitEnrolment("its shim has not enrolled", name, toolbox.droplet_id or "")
    yield QueryShim("it has not answered a command yet", name)


def _create(toolbox: Toolbox) -> ToolboxStep:
    attempt = toolbox.attempt
    if attempt and not attempt.resolved:
        return FindDroplet("the outcome of its create is unknown", droplet.droplet_name(toolbox.id, attempt.number))
    number = attempt.number + 1 if attempt else 1
    return CreateDroplet("no droplet", droplet.droplet_name(toolbox.id, number), number)


def _upgrade(upgrade: ShimUpgrade) -> Iterator[ToolboxStep]:
    if not upgrade.pulled:
        yield PullShim("an upgrade was requested", upgrade.image)
    if upgrade.sent_at is None:
        yield UpgradeShim("an upgrade was requested", upgrade.image)
    yield AwaitUpgrade("the upgrade was sent", upgrade.image)


def _stop_containers(retired: RetiredDroplet) -> Iterator[ToolboxStep]:
    """Stop what runs on an earlier droplet. One whose shim never enrolled runs nothing and cannot be reached."""
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
    yield AwaitRemoval("the API still lists it", name, retired.droplet_id)


def _deprovision(toolbox: Toolbox) -> Iterator[ToolboxStep]:
    """Deprovision without waiting for the shim, which may be gone: what it does not answer at once is not recorded."""
    attempt, cause = toolbox.attempt, "desired deprovisioned"
    if attempt and not attempt.resolved and toolbox.droplet_id is None:
        yield _create(toolbox)
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
