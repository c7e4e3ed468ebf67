"""The contract between the functions and the shim: the one place that states it.

Paths, error codes, labels, names and limits stand here, and the fields of bodies and answers in `messages`, and
nowhere else. Both sides import this module, so neither can speak of a route, a field or an error that the other
does not know. Standard library only: it travels to every droplet.

Every command carries a token (signing.py) that names the contract version it was written for; every answer
carries the shim's in the header `Toolboxes-Contract`. Where the two differ the command is refused as
`shim-incompatible` before its route is even looked at, so that another version is never met as a 404.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from shim import messages as messages

CONTRACT = 1
CONTRACT_HEADER = "Toolboxes-Contract"
PORT = 30000
MAX_BODY_BYTES = 1_000_000
MAX_LOG_LINES = 5_000
HOST_PORTS = range(20_000, 30_000)

LABEL_TOOLBOX = "toolboxes.toolbox-id"
LABEL_INSTANCE = "toolboxes.instance-id"
LABEL_SPEC_GENERATION = "toolboxes.spec-generation"
LABEL_IMAGE_DIGEST = "toolboxes.image-digest"
LABEL_MEMORY = "toolboxes.memory-bytes"
# The engine's id as `Status` gives it, of the engine that the container was made on: a list then names its engine.
LABEL_ENGINE = "toolboxes.engine-id"

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CONTAINER_NAME = re.compile(rf"tool-(?P<instance>{UUID.pattern})-g(?P<generation>[1-9][0-9]{{0,9}})")
VOLUME_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
CONTAINER_PATH = re.compile(r"(/(?!\.\.?(/|$))[A-Za-z0-9_.@+-]{1,128}){1,16}")
RESTART_POLICIES = ("unless-stopped", "on-failure", "no")
# https://github.com/distribution/reference: domain, path, tag, digest; at most 255 characters for domain and path.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE_REFERENCE = re.compile(
    rf"(?=[^@:]{{1,255}}(?:[:@]|$))(?:{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


def container_name(instance_id: str, spec_generation: int) -> str:
    return f"tool-{instance_id}-g{spec_generation}"


class ContractError(Exception):
    """Anything the shim answers but success: `{"error": {"code", "message"}}` with `status`."""

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500

    def __init_subclass__(cls, code: str, status: int | None = None) -> None:
        """`status` is the parent's where it is left out."""
        cls.code, cls.status = code, status or cls.status
        ERRORS[code] = cls

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


ERRORS: dict[str, type[ContractError]] = {ContractError.code: ContractError}


class Refused(ContractError, code="bad-request", status=400):
    """The command itself is at fault: nothing was done, and repeating it changes nothing."""


class BodyTooLarge(Refused, code="body-too-large", status=413): ...


class Unauthenticated(Refused, code="unauthenticated", status=401): ...


class ClockSkew(Unauthenticated, code="clock-skew"): ...


class TokenStale(Unauthenticated, code="token-stale"):
    """Expired, used before, or issued before this process started: sign anew and ask again."""


class Incompatible(Refused, code="shim-incompatible", status=409): ...


class UnknownRoute(Refused, code="unknown-route", status=404): ...


class NoSuchContainer(Refused, code="no-such-container", status=404): ...


class NoSuchImage(Refused, code="no-such-image", status=404):
    """The image is not on this droplet; a pull may bring it."""


class OlderSpec(Refused, code="older-spec", status=409):
    """A container of a newer spec generation exists."""


class NameTaken(Refused, code="name-taken", status=409):
    """The container's name is held by one that this toolbox does not manage."""


class NotRunning(Refused, code="not-running", status=409):
    """Only a running container can be asked this."""


class StillRunning(Refused, code="still-running", status=409):
    """Only a container that does not run can be asked this."""


class NoSuchVolume(Refused, code="no-such-volume", status=404): ...


class StorageRefused(ContractError, code="storage-refused", status=422):
    """The storage refused a presigned URL for good, or holds something else than was said."""


class ImageUnavailable(ContractError, code="image-unavailable", status=422):
    """The registry refused, for good: no such image or tag, denied, or made for another platform."""


class ImageDenied(ImageUnavailable, code="image-denied"): ...


class WrongPlatform(ImageUnavailable, code="wrong-platform"): ...


class StartFailed(ContractError, code="start-failed", status=422):
    """The engine cannot start this container, e.g. its command does not exist; the container stays `created`."""


class PortTaken(StartFailed, code="port-taken"): ...


class Transient(ContractError, code="try-again", status=503):
    """Nothing was done or all is as before, and the same command may succeed later."""


class Busy(Transient, code="too-many-at-once"):
    """As many of these as the shim serves at once are under way."""


class RegistryUnreachable(Transient, code="registry-unreachable"): ...


class StorageUnreachable(Transient, code="storage-unreachable"): ...


class NotAnswering(Transient, code="not-answering"):
    """Nothing in the container answers at that port yet, or it broke off."""


class EngineUnavailable(Transient, code="engine-unavailable"): ...


class DiskFull(Transient, code="disk-full", status=507): ...


class OutcomeUnknown(ContractError, code="outcome-unknown", status=504):
    """The engine did not answer in time, or broke off: it may have happened. Inspect before saying anything."""


@dataclass(frozen=True, slots=True)
class Route:
    """One verb of the shim. `path` holds `{name}` where a container's name stands, and `{volume}` a volume's.

    `query` names what may follow.
    """

    method: str
    path: str
    body: type
    answer: type
    query: tuple[str, ...] = ()

    def target(self, name: str = "", query: str = "", volume: str = "") -> str:
        """The request's target as it is signed and sent: path and query, percent-encoded."""
        path = self.path.replace("{name}", quote(name, safe="")).replace("{volume}", quote(volume, safe=""))
        return path + (f"?{query}" if query else "")


HEALTH = Route("GET", "/health", messages.Nothing, messages.Health)
STATUS = Route("GET", "/status", messages.Nothing, messages.Status, ("metrics", "limits"))
CREATE = Route("POST", "/tools", messages.Create, messages.Acted)
INSPECT = Route("GET", "/tools/{name}", messages.Nothing, messages.Acted)
REMOVE = Route("DELETE", "/tools/{name}", messages.Nothing, messages.Acted)
START = Route("POST", "/tools/{name}/start", messages.Nothing, messages.Acted)
STOP = Route("POST", "/tools/{name}/stop", messages.Stop, messages.Acted)
RESTART = Route("POST", "/tools/{name}/restart", messages.Restart, messages.Acted)
LOGS = Route("GET", "/tools/{name}/logs", messages.Nothing, messages.Logs, ("tail", "since"))
FOLLOW = Route("GET", "/tools/{name}/logs/follow", messages.Nothing, messages.FollowLine, ("tail", "since"))
STATS = Route("GET", "/tools/{name}/stats", messages.Nothing, messages.Stats)
EXECUTE = Route("POST", "/tools/{name}/execute", messages.Execute, messages.Executed)
REQUEST = Route("POST", "/tools/{name}/request", messages.Request, messages.Response)
SAVE = Route("POST", "/tools/{name}/volumes/{volume}/save", messages.Save, messages.CopyLine)
LOAD = Route("POST", "/tools/{name}/volumes/{volume}/load", messages.Load, messages.CopyLine)
PRUNE = Route("POST", "/images/prune", messages.Prune, messages.Pruned)
PULL = Route("POST", "/images/pull", messages.Pull, messages.PullLine)
UPGRADE = Route("POST", "/shim/upgrade", messages.Upgrade, messages.Upgrading)
RESTART_SHIM = Route("POST", "/shim/restart", messages.Nothing, messages.Restarting)

ROUTES = (
    HEALTH, STATUS, CREATE, INSPECT, REMOVE, START, STOP, RESTART, LOGS, FOLLOW, STATS, EXECUTE, REQUEST, SAVE, LOAD,
    PRUNE, PULL, UPGRADE, RESTART_SHIM,
)  # fmt: skip
