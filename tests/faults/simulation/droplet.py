"""One droplet by a seed: the tests' fake engine, in which acts take time and hold their instance's lock."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from functions.domain.instance.model import LIVE_STATES
from shim.contract import errors as shim_errors
from shim.contract import messages, routes
from tests.fakes.droplet import FakeDroplet

LONG_AGO, FOREVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
SERVER, SECOND, PULLED, MISSING = (
    f"registry.test/{name}" for name in ("server:1", "server:2", "pulled:1", "missing:1")
)


@dataclass
class Droplet(FakeDroplet):
    """`locks`: instances on which a command is inside the engine. `looping`: containers that crash at every start.

    `held_ports` are kept by the engine by mistake, for as long as it lives.

    `changed` is called after everything that happens to a container, `foreign` are those that somebody renamed, and
    `made` and `ran` the names of all that ever were there, and ever ran.
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
        """What the engine does now, whatever was before."""
        answer = self.command(route, name=name, body=body, start_by=FOREVER)
        self.changed(self)
        return answer

    def listing(self, *, limits: bool = False) -> messages.Status:
        listed = self.act(routes.STATUS, body=limits)
        assert isinstance(listed, messages.Status)
        self.history = [*self.history[-3:], listed]
        return listed

    def etag(self, listed: messages.Status) -> str:
        """Stands for the list alone, as the shim's does."""
        key = (listed.engine_id, listed.complete, *listed.containers)
        return self._etags.setdefault(key, f"etag-{len(self._etags)}")

    def restart_engine(self) -> None:
        """What ran runs again, with a start of its own; what was stopped by hand or by us stays so."""
        for name, container in list(self.containers.items()):
            if container.state in LIVE_STATES:
                self.die(name, exit_code=143)
                with suppress(shim_errors.PortTaken):
                    self._start(name, None)
        self.changed(self)

    def keep_ports(self, name: str, part: float = 1.0) -> None:
        """The last ones, or all, of a container that is just being started: its engine takes them for nobody."""
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
        """What a loop does in a minute: the engine starts it, and it ends."""
        for name in sorted(self.looping & self.containers.keys()):
            if self.containers[name].state in LIVE_STATES:
                self.crash(name, restarts=3, exit_code=3)
        self.changed(self)

    def _start(self, name: str, body: Any) -> messages.Acted:
        container = self._found(name)
        if container.state in LIVE_STATES:
            return messages.Acted(container, changed=False)
        acted = super()._start(name, body)
        self.looping.discard(name)
        self.ran.add(name)
        return acted

    def _bind(self, container: messages.Container) -> None:
        super()._bind(container)
        wanted = {port.host_port for port in container.ports}
        for other in (*self.containers.values(), *self.foreign):
            held = {port.host_port for port in other.ports}
            if other.id != container.id and other.state in LIVE_STATES and held & wanted:
                raise shim_errors.PortTaken(f"Bind for 0.0.0.0:{min(held & wanted)} failed: port is already allocated")

    def _create(self, name: str, body: messages.Create) -> messages.Acted:
        self.made.add(name)
        return super()._create(name, body)

    def rename(self, name: str) -> None:
        """By hand, to a name that is none of ours: it is somebody else's container from now on."""
        container = self.containers.pop(name)
        self.foreign.append(replace(container, name=f"renamed-{len(self.foreign)}"))
        self.changed(self)


def answer_as_mcp(request: messages.Request) -> messages.Response:
    said = json.loads(request.body or "{}")
    results = {"initialize": {"protocolVersion": "2025-06-18"}, "tools/list": {"tools": [{"name": "echo"}]}}
    result = results.get(said.get("method", ""), {})
    body = json.dumps({"jsonrpc": "2.0", "id": said.get("id"), "result": result})
    return messages.Response(200, {"content-type": "application/json"}, body, truncated=False)
