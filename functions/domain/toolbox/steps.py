"""What is to be done about a toolbox and its droplet, step by step, each with its cause. A step is one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from functions.domain.toolbox.model import RetiredDroplet


@dataclass(frozen=True, slots=True)
class ToolboxStep:
    """`waits` and `resumable` as in domain/plan.py. No step is slow: no request waits for a toolbox."""

    verb: ClassVar[str]
    slow: ClassVar[bool] = False
    waits: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    cause: str
    target: str


@dataclass(frozen=True, slots=True)
class OpenFirewall(ToolboxStep):
    verb = "open firewall"


@dataclass(frozen=True, slots=True)
class CreateDroplet(ToolboxStep):
    """`number` is the attempt's: it goes on record before the call is sent."""

    verb = "create"
    number: int


@dataclass(frozen=True, slots=True)
class FindDroplet(ToolboxStep):
    """What a create call of unknown outcome may have made, by its name and by the toolbox's own tag."""

    verb, waits = "look for", True


@dataclass(frozen=True, slots=True)
class AwaitEnrolment(ToolboxStep):
    verb, waits = "await the enrolment of", True
    droplet_id: str


@dataclass(frozen=True, slots=True)
class QueryShim(ToolboxStep):
    """A signed status: what answers it serves."""

    verb, waits = "ask the shim of", True


@dataclass(frozen=True, slots=True)
class RedeployInstances(ToolboxStep):
    verb, resumable = "redeploy the instances of", True


@dataclass(frozen=True, slots=True)
class PullShim(ToolboxStep):
    verb = "pull"


@dataclass(frozen=True, slots=True)
class UpgradeShim(ToolboxStep):
    verb = "upgrade the shim to"


@dataclass(frozen=True, slots=True)
class AwaitUpgrade(ToolboxStep):
    verb, waits = "await the shim", True


@dataclass(frozen=True, slots=True)
class ListContainers(ToolboxStep):
    verb = "list the containers of"
    retired: RetiredDroplet


@dataclass(frozen=True, slots=True)
class StopContainer(ToolboxStep):
    """On a droplet that is to go."""

    verb = "stop"
    retired: RetiredDroplet


@dataclass(frozen=True, slots=True)
class TearDownInstances(ToolboxStep):
    """Ask each instance to end, and keep what can be learned of it; its droplet is about to go."""

    verb, resumable = "end the instances of", True


@dataclass(frozen=True, slots=True)
class DestroyDroplet(ToolboxStep):
    verb = "destroy"
    droplet_id: str


@dataclass(frozen=True, slots=True)
class AwaitRemoval(ToolboxStep):
    verb, waits = "await the end of", True
    droplet_id: str


@dataclass(frozen=True, slots=True)
class FreeReservations(ToolboxStep):
    """Names and ports of the instances, once the droplet that held them is known to be gone."""

    verb, resumable = "release the reservations of", True


@dataclass(frozen=True, slots=True)
class RemoveFirewall(ToolboxStep):
    verb = "remove firewall"
