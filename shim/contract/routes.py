"""The routes of the shim: method, path, the messages of each, and the version of the contract.

Adding, removing or changing a route, a message or a bound needs another CONTRACT number; tests/shim/test_versions.py
fails until it has one. The functions speak CONTRACT and the version before it, so that a fleet is upgraded droplet by
droplet; a shim speaks one version and answers another one with 409 `shim-incompatible`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from shim.contract import messages

CONTRACT = 2
# Sent with every answer, so that a peer of another version is recognised whatever it answers.
CONTRACT_HEADER = "Toolboxes-Contract"
PORT = 30000
# Of a signed command; a relayed request may have MAX_RELAY_BODY_BYTES.
MAX_BODY_BYTES = 1_000_000
MAX_RELAY_BODY_BYTES = 4 << 20
# Of a request whose token is missing or wrong. Enough for any client to see the refusal.
MAX_UNSIGNED_BODY_BYTES = 16_384

# Marks an answer of the relay as the container's own. Without it the answer is the shim's, e.g. its 404 or 503.
RELAYED_HEADER = "Toolboxes-Relayed"
RELAY_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# What passes to the container and back. What frames the message itself (length, encoding, connection) is set by each
# side for its own connection, and `Authorization` holds the command's token.
RELAY_REQUEST_HEADER = re.compile(
    r"accept|accept-language|cache-control|content-type|host|last-event-id|mcp-[a-z0-9_.-]{1,120}|origin|user-agent"
    r"|x-[a-z0-9-]{1,64}"
)
RELAY_RESPONSE_HEADER = re.compile(
    r"allow|cache-control|content-language|content-type|etag|last-modified|location|mcp-[a-z0-9_.-]{1,120}|retry-after"
    r"|vary|www-authenticate|x-[a-z0-9-]{1,64}|access-control-[a-z-]{1,32}"
)
MAX_RELAY_HEADERS = 64
MAX_RELAY_HEADER_CHARACTERS = 8_192
RELAY_PATH = re.compile(r"/[\x21-\x22\x24-\x7e]{0,4095}")


@dataclass(frozen=True, slots=True)
class Route:
    """One verb of the shim.

    `path` has `{name}` where a container's name stands, `{volume}` for a volume's, `{port}` and `{path}` for those of a
    relayed request. `query` names the keys that may follow. `answer` is one JSON object, or of a stream one line.
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
CREATE = Route("POST", "/tools", messages.Create, messages.ActionResult)
INSPECT = Route("GET", "/tools/{name}", messages.Nothing, messages.ActionResult)
REMOVE = Route("DELETE", "/tools/{name}", messages.Nothing, messages.ActionResult)
START = Route("POST", "/tools/{name}/start", messages.Nothing, messages.ActionResult)
STOP = Route("POST", "/tools/{name}/stop", messages.Stop, messages.ActionResult)
RESTART = Route("POST", "/tools/{name}/restart", messages.Restart, messages.ActionResult)
LOGS = Route("GET", "/tools/{name}/logs", messages.Nothing, messages.Logs, ("tail", "since"))
FOLLOW = Route("GET", "/tools/{name}/logs/follow", messages.Nothing, messages.FollowLine, ("tail", "since"))
STATS = Route("GET", "/tools/{name}/stats", messages.Nothing, messages.Stats)
EXECUTE = Route("POST", "/tools/{name}/execute", messages.Execute, messages.Executed)
# Any of RELAY_METHODS. The relayed request and its answer are the HTTP messages themselves: see relay_target().
RELAY = Route("POST", "/tools/{name}/relay/{port}{path}", messages.Relayed, messages.Relayed)
SAVE = Route("POST", "/tools/{name}/volumes/{volume}/save", messages.Save, messages.CopyLine)
LOAD = Route("POST", "/tools/{name}/volumes/{volume}/load", messages.Load, messages.CopyLine)
IMAGES = Route("GET", "/images", messages.Nothing, messages.Images)
REMOVE_IMAGES = Route("POST", "/images/remove", messages.RemoveImages, messages.RemovedImages)
PULL = Route("POST", "/images/pull", messages.Pull, messages.PullLine)
UPGRADE = Route("POST", "/shim/upgrade", messages.Upgrade, messages.Upgrading)
RESTART_SHIM = Route("POST", "/shim/restart", messages.Nothing, messages.Restarting)

ROUTES = (
    HEALTH,
    STATUS,
    CREATE,
    INSPECT,
    REMOVE,
    START,
    STOP,
    RESTART,
    LOGS,
    FOLLOW,
    STATS,
    EXECUTE,
    RELAY,
    SAVE,
    LOAD,
    IMAGES,
    REMOVE_IMAGES,
    PULL,
    UPGRADE,
    RESTART_SHIM,
)


def relay_target(name: str, port: int, path: str) -> str:
    """The target of a relayed request. `path` is the container's own, with its query, and begins with a slash."""
    return f"/tools/{quote(name, safe='')}/relay/{port}{path}"
