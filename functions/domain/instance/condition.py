"""The condition of an instance: what follows from its desired and its observed state together.

The second part compares the stored instances of a droplet with the list of its containers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.domain.instance.container import LIVE_STATES, Container, ContainerLimits, ListedContainer
from functions.domain.instance.model import DesiredState, Instance, InstanceStatus, Observed
from functions.domain.instance.spec import engine_limits

STEADY_AFTER = timedelta(seconds=2)


def exit_id(container: Container) -> str:
    """Return an id of this end of this container, "" where it never ran or still runs."""
    ended = container.state not in LIVE_STATES and container.started_at
    return f"{container.id} {container.finished_at}" if ended else ""


def describe_last_exit(container: Container) -> str:
    """Say how the container ended last. The engine forgets that as soon as it has restarted the container."""
    if container.state == "running":
        return "its last exit code is unknown, since it was running again when it was inspected"
    return "out of memory" if container.oom_killed else f"exit code {container.exit_code}"


def completed(instance: Instance) -> bool:
    """Return whether the container is a job that has run and that its restart policy does not run again."""
    container, policy = instance.observed.container, instance.spec.restart_policy
    if container is None or not exit_id(container) or policy == "unless-stopped":
        return False
    restarted = container.started_at != instance.desired.restart_after
    return restarted and (policy == "no" or container.exit_code == 0)


def limits_edited(instance: Instance, limits: ContainerLimits | None) -> bool:
    """Return whether somebody changed the container's limits on the droplet (`docker update`).

    `limits` are the present ones, None where the shim did not report them. A container that is not meant to run is left
    alone: it gets its own limits when it is created again.
    """
    runs = instance.target_state is DesiredState.RUNNING and not instance.failure and not completed(instance)
    return runs and limits is not None and limits != engine_limits(instance.spec)


def ready(instance: Instance) -> bool:
    """Return whether the container serves: it runs, its health check has a result, and it passed the MCP probe."""
    container, mcp = instance.observed.container, instance.observed.mcp
    if container is None or container.state != "running" or container.health == "starting":
        return False
    return instance.spec.mcp is None or (mcp is not None and mcp.endpoint_id == container.endpoint_id)


def steady(instance: Instance, container: Container) -> bool:
    """Return whether a new version counts as started.

    Where neither a health check nor the MCP probe proves it, it must have run for two seconds: with `init`, the engine
    reports a successful start even of a command that does not exist, and the container ends a moment later.
    """
    proven_otherwise = instance.spec.mcp is not None or container.health is not None
    at = instance.observed.at
    if proven_otherwise or at is None or not container.started_at:
        return proven_otherwise
    return at - datetime.fromisoformat(container.started_at) >= STEADY_AFTER


def derive_status(instance: Instance) -> InstanceStatus:
    """Derive the status from the target state and the observed container."""
    state, container = instance.target_state, instance.observed.container
    if state is DesiredState.DELETED:
        return InstanceStatus.DELETING
    ever_ran = container is not None and container.started_at != ""
    if instance.failure:
        return InstanceStatus.ERROR_RUNTIME if ever_ran else InstanceStatus.ERROR_INSTALL
    if container is None:
        # After a change of spec nothing is observed either, but an instance becomes pending_deploy only once.
        new = instance.status is InstanceStatus.PENDING_DEPLOY and instance.observed == Observed()
        return InstanceStatus.PENDING_DEPLOY if new else InstanceStatus.DEPLOYING
    live = container.state in LIVE_STATES
    if state is DesiredState.STOPPED:
        return InstanceStatus.STOPPING if live else InstanceStatus.STOPPED
    if completed(instance):
        return InstanceStatus.STOPPED
    if live and container.started_at != instance.desired.restart_after and ready(instance):
        return InstanceStatus.RUNNING
    return InstanceStatus.STARTING if ever_ran else InstanceStatus.DEPLOYING


# Compare a droplet's list of containers with the documents that were read before it.


@dataclass(frozen=True, slots=True)
class Differences:
    """`changed` are ids of instances to inspect, `orphans` the containers of no document.

    `unsettled`: some instances are being worked on or are due, so their containers were not compared.
    """

    changed: list[str]
    orphans: list[ListedContainer]
    unsettled: bool = False


def compare(
    instances: Sequence[Instance], listed: Sequence[ListedContainer], *, suspended: bool = False
) -> Differences:
    """Compare settled instances with what the list shows of them; `suspended`: whether their account is."""
    by_name = {container.name: container for container in listed}
    expected = {name for i in instances for name in (i.container_name, i.previous_name) if name}
    changed = [
        i.id
        for i in instances
        if i.settled and (i.suspended is not suspended or _differs(i, by_name.get(i.container_name)))
    ]
    orphans = [container for container in listed if container.name not in expected]
    return Differences(changed, orphans, unsettled=not all(i.settled for i in instances))


def _differs(instance: Instance, listed: ListedContainer | None) -> bool:
    known = instance.observed.container
    if listed is None or known is None:
        return (listed is None) is not (known is None)
    if limits_edited(instance, listed.limits):
        return True
    now = (listed.id, listed.state, listed.health, listed.endpoint_id)
    return now != (known.id, known.state, known.health, known.endpoint_id)
