"""The condition of an instance: what follows from what is desired and what was seen of its container together."""

from __future__ import annotations

from datetime import datetime, timedelta

from functions.domain.instance.container import LIVE_STATES, Container, ContainerLimits
from functions.domain.instance.model import DesiredState, Instance, InstanceStatus, Observed
from functions.domain.instance.spec import engine_limits

STEADY_AFTER = timedelta(seconds=2)


def exit_id(container: Container) -> str:
    """Names one end of one container, "" where it never ran or still does."""
    ended = container.state not in LIVE_STATES and container.started_at
    return f"{container.id} {container.finished_at}" if ended else ""


def describe_last_exit(container: Container) -> str:
    """How it ended last, in words. The engine forgets that as soon as it has restarted it."""
    if container.state == "running":
        return "its last exit was not seen, since it ran again when it was looked at"
    return "out of memory" if container.oom_killed else f"exit code {container.exit_code}"


def completed(instance: Instance) -> bool:
    """A job that has run as asked and is not to be restarted."""
    container, policy = instance.observed.container, instance.spec.restart_policy
    if container is None or not exit_id(container) or policy == "unless-stopped":
        return False
    ran = container.started_at != instance.desired.restart_after
    return ran and (policy == "no" or container.exit_code == 0)


def limits_edited(instance: Instance, limits: ContainerLimits | None) -> bool:
    """Whether its limits were changed by hand (`docker update`); None: not looked into. Only what is to run counts."""
    wanted = instance.target_state is DesiredState.RUNNING and not instance.failure and not completed(instance)
    return wanted and limits is not None and limits != engine_limits(instance.spec)


def ready(instance: Instance) -> bool:
    """Whether what runs serves: not still becoming healthy, and its MCP server has answered since this start."""
    container, mcp = instance.observed.container, instance.observed.mcp
    if container is None or container.state != "running" or container.health == "starting":
        return False
    return instance.spec.mcp is None or (mcp is not None and mcp.endpoint_id == container.endpoint_id)


def steady(instance: Instance, container: Container) -> bool:
    """Whether a version that nothing else proves has run for long enough not to have ended at once.

    An `init` starts whatever it is told to, and what cannot run ends only then.
    """
    proven_otherwise = instance.spec.mcp is not None or container.health is not None
    at = instance.observed.at
    if proven_otherwise or at is None or not container.started_at:
        return proven_otherwise
    return at - parse_docker_time(container.started_at) >= STEADY_AFTER


def parse_docker_time(docker_time: str) -> datetime:
    """Docker's RFC 3339 with nanoseconds, which a datetime does not hold."""
    whole, _, rest = docker_time.partition(".")
    return datetime.fromisoformat(f"{whole}.{rest.rstrip('Z')[:6]}+00:00" if rest.endswith("Z") else docker_time)


def derive_status(instance: Instance) -> InstanceStatus:
    state, container = instance.target_state, instance.observed.container
    if state is DesiredState.DELETED:
        return InstanceStatus.DELETING
    ever_ran = container is not None and container.started_at != ""
    if instance.failure:
        return InstanceStatus.ERROR_RUNTIME if ever_ran else InstanceStatus.ERROR_INSTALL
    if container is None:
        # Nothing is new twice: another spec makes what was seen as empty as it was at first.
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
