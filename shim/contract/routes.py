"""The routes of the shim: method, path, the messages of each, and the version of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from shim.contract import messages

CONTRACT = 1
CONTRACT_HEADER = "Toolboxes-Contract"
PORT = 30000
MAX_BODY_BYTES = 1_000_000


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
