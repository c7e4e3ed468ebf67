"""The shim's interface reduced to one method: the base of every fake that forwards commands to a droplet."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from functions.lifecycle.dependencies import Lines
from shim.contract import messages, routes
from shim.contract.routes import Route

NOTHING = messages.Nothing()

# A route by the short name that tests and traces use. Routes are compared by identity, so this name crosses processes.
VERBS = {
    "create": routes.CREATE,
    "inspect": routes.INSPECT,
    "start": routes.START,
    "stop": routes.STOP,
    "restart": routes.RESTART,
    "remove": routes.REMOVE,
    "logs": routes.LOGS,
    "status": routes.STATUS,
    "request": routes.RELAY,
    "execute": routes.EXECUTE,
    "stats": routes.STATS,
    "images": routes.IMAGES,
    "remove_images": routes.REMOVE_IMAGES,
    "upgrade": routes.UPGRADE,
    "restart_shim": routes.RESTART_SHIM,
}


def verb_of(route: Route) -> str:
    """Return the route's name in VERBS."""
    return next(verb for verb, known in VERBS.items() if known is route)


class ForwardingShim:
    """A shim whose methods all end in `call`.

    A subclass forwards the call to another shim, to another process or to a simulation: `method` is the name of the
    interface's method, `arguments` are its keyword arguments.
    """

    def call(self, method: str, arguments: dict[str, Any]) -> Any:
        raise NotImplementedError

    def command(
        self,
        route: Route,
        *,
        start_by: datetime,
        name: str = "",
        body: Any = NOTHING,
        query: str = "",
        within: float | None = None,
    ) -> Any:
        arguments = {"start_by": start_by, "name": name, "body": body, "query": query, "within": within}
        return self.call("command", {"route": route, **arguments})

    def status(self, *, start_by: datetime, unless: str, limits: bool = False) -> tuple[messages.Status | None, str]:
        answer: tuple[messages.Status | None, str] = self.call(
            "status", {"start_by": start_by, "unless": unless, "limits": limits}
        )
        return answer

    def pull(
        self, body: messages.Pull, *, start_by: datetime, on_progress: Callable[[messages.Progress], None]
    ) -> messages.Image:
        image: messages.Image = self.call("pull", {"body": body, "start_by": start_by, "on_progress": on_progress})
        return image

    def follow(self, name: str, *, start_by: datetime, query: str) -> Lines[messages.FollowLine]:
        lines: Lines[messages.FollowLine] = self.call("follow", {"name": name, "start_by": start_by, "query": query})
        return lines
