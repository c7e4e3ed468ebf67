"""A simulated droplet: the fake engine, whose commands take time and hold their instance's lock."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from functions.domain.instance.container import LIVE_STATES
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.fakes.droplet import FakeDroplet

LONG_AGO, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
SERVER, SECOND, PULLED, MISSING = (
    f"registry.test/{name}" for name in ("server:1", "server:2", "pulled:1", "missing:1")
)


@dataclass
class Droplet(FakeDroplet):
    """A droplet that keeps what the oracles need to know.

    Attributes:
        locks: Instances with a command inside the engine.
        looping: Names of containers that crash after every start.
        foreign: Containers that somebody renamed, so that they are no longer ours.
        history: The last four lists, for a stale answer.
        made: Names of all containers that ever existed.
        ran: Names of all containers that ever ran.
        changed: Called after every change of a container.
    """

    name: str = ""
    reachable_at: datetime = LONG_AGO
    locks: set[str] = field(default_factory=set)
    looping: set[str] = field(default_factory=set)
    stopped_by_hand: set[str] = field(default_factory=set)
    foreign: list[messages.Container] = field(default_factory=list)
    history: list[messages.Status] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)
    changed: Callable[[Droplet], None] = lambda droplet: None
    _engines: Any = field(default_factory=lambda: itertools.count(2))
    _etags: dict[Any, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine_id = f"{self.name}-engine-1"
        self.images = {SERVER, SECOND}
        self.registry = {SERVER: None, SECOND: None, PULLED: None}
        self.mcp = answer_as_mcp

    def act(self, route: routes.Route, name: str = "", body: Any = None) -> Any:
        """Perform a command in the engine now; its start-by time was checked before."""
        answer = self.command(route, name=name, body=body, start_by=FOREVER)
        self.changed(self)
        return answer

    def listing(self, *, limits: bool = False) -> messages.Status:
        listed = self.act(routes.STATUS, body=limits)
        assert isinstance(listed, messages.Status)
        self.history = [*self.history[-3:], listed]
        return listed

    def etag(self, listed: messages.Status) -> str:
        """Return an ETag of the list alone, without the metrics, as the shim does."""
        key = (listed.engine_id, listed.complete, *listed.containers)
        return self._etags.setdefault(key, f"etag-{len(self._etags)}")

    def restart_engine(self) -> None:
        """Restart the engine: running containers run again with a new start time, stopped ones stay stopped."""
        for name, container in list(self.containers.items()):
            if container.state in LIVE_STATES:
                self.die(name, exit_code=143)
                with suppress(shim_errors.PortTaken):
                    self._start(name, None)
        self.changed(self)

    def keep_ports(self, name: str, part: float = 1.0) -> None:
        """Let the engine leak the last `part` of the container's host ports, as real ones do after a crash."""
        ports = self.containers[name].ports if name in self.containers else []
        self.held_ports |= {port.host_port for port in ports[int((1 - part) * len(ports)) :]}

    def replace_engine(self) -> None:
        self.engine_id = f"{self.name}-engine-{next(self._engines)}"
        self.containers.clear()
        self.foreign.clear()
        self.looping.clear()
        self.held_ports.clear()
        self.images = {SERVER}
        self.changed(self)

    def crash_again(self) -> None:
        """Let each crash-looping container be restarted by the engine and exit again, as happens within a minute."""
        for name in sorted(self.looping & self.containers.keys()):
            if self.containers[name].state in LIVE_STATES:
                self.crash(name, restarts=3, exit_code=3)
        self.changed(self)

    def _start(self, name: str, body: Any) -> messages.ActionResult:
        container = self._found(name)
        if container.state in LIVE_STATES:
            return messages.ActionResult(container, changed=False)
        answer = super()._start(name, body)
        self.looping.discard(name)
        self.ran.add(name)
        return answer

    def _bind(self, container: messages.Container) -> None:
        super()._bind(container)
        wanted = {port.host_port for port in container.ports}
        for other in (*self.containers.values(), *self.foreign):
            held = {port.host_port for port in other.ports}
            if other.id != container.id and other.state in LIVE_STATES and held & wanted:
                raise shim_errors.PortTaken(f"Bind for 0.0.0.0:{min(held & wanted)} failed: port is already allocated")

    def _create(self, name: str, body: messages.Create) -> messages.ActionResult:
        self.made.add(name)
        return super()._create(name, body)

    def rename(self, name: str) -> None:
        """Rename a container by hand to a name that is not ours, which makes it a foreign one."""
        container = self.containers.pop(name)
        self.foreign.append(replace(container, name=f"renamed-{len(self.foreign)}"))
        self.changed(self)


def answer_as_mcp(request: messages.Request) -> messages.Response:
    message = json.loads(request.body or "{}")
    results = {"initialize": {"protocolVersion": "2025-06-18"}, "tools/list": {"tools": [{"name": "echo"}]}}
    result = results.get(message.get("method", ""), {})
    body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result})
    return messages.Response(200, {"content-type": "application/json"}, body, truncated=False)
