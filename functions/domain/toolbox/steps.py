"""The steps of a toolbox's plan. Each is one call to DigitalOcean or to a shim, or one pass over the instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from functions.domain.toolbox.model import RetiredDroplet


@dataclass(frozen=True, slots=True)
class ToolboxStep:
    """A step on a toolbox; the flags are those of domain/plan.py. None is `slow`: no request waits for a toolbox."""

    verb: ClassVar[str]
    slow: ClassVar[bool] = False
    waits: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    cause: str
    target: str


@dataclass(frozen=True, slots=True)
class OpenFirewall(ToolboxStep):
    """Create the toolbox's firewall where it is missing."""

    verb = "open firewall"


@dataclass(frozen=True, slots=True)
class CreateDroplet(ToolboxStep):
    """Create a droplet. The attempt with this `number` is stored before the call is sent."""

    verb = "create"
    number: int


@dataclass(frozen=True, slots=True)
class FindDroplet(ToolboxStep):
    """Look for the droplet of a create call whose answer was lost, by its name and by the toolbox's tag."""

    verb, waits = "find", True


@dataclass(frozen=True, slots=True)
class AwaitEnrolment(ToolboxStep):
    """Wait until the droplet has booted and its shim has enrolled."""

    verb, waits = "await the enrolment of", True
    droplet_id: str


@dataclass(frozen=True, slots=True)
class QueryShim(ToolboxStep):
    """Send a signed status command. A shim that answers it serves."""

    verb, waits = "query the shim of", True


@dataclass(frozen=True, slots=True)
class RedeployInstances(ToolboxStep):
    """Mark every instance for inspection, so that the reconciler deploys it on the new droplet."""

    verb, resumable = "redeploy the instances of", True


@dataclass(frozen=True, slots=True)
class PullShim(ToolboxStep):
    """Pull the new shim's image while the present shim still serves."""

    verb = "pull"


@dataclass(frozen=True, slots=True)
class UpgradeShim(ToolboxStep):
    """Tell the shim to replace itself."""

    verb = "upgrade the shim to"


@dataclass(frozen=True, slots=True)
class AwaitUpgrade(ToolboxStep):
    """Wait until the new shim answers."""

    verb, waits = "await the shim", True


@dataclass(frozen=True, slots=True)
class ListContainers(ToolboxStep):
    """List what runs on a retired droplet."""

    verb = "list the containers of"
    retired: RetiredDroplet


@dataclass(frozen=True, slots=True)
class StopContainer(ToolboxStep):
    """Stop a container on a retired droplet."""

    verb = "stop"
    retired: RetiredDroplet


@dataclass(frozen=True, slots=True)
class TearDownInstances(ToolboxStep):
    """Request the end of each instance and store its post-mortem, before the droplet is destroyed."""

    verb, resumable = "tear down the instances of", True


@dataclass(frozen=True, slots=True)
class DestroyDroplet(ToolboxStep):
    """Destroy a droplet by its id. A tag is never used: every droplet that carries it would be destroyed."""

    verb = "destroy"
    droplet_id: str


@dataclass(frozen=True, slots=True)
class AwaitRemoval(ToolboxStep):
    """Wait until the API no longer knows the droplet."""

    verb, waits = "await the removal of", True
    droplet_id: str


@dataclass(frozen=True, slots=True)
class FreeReservations(ToolboxStep):
    """Release the instances' names and host ports, once the droplet is known to be removed."""

    verb, resumable = "release the reservations of", True


@dataclass(frozen=True, slots=True)
class RemoveFirewall(ToolboxStep):
    """Delete the toolbox's firewall."""

    verb = "remove firewall"
