"""`toolbox-dtma-console`: the existing frontend's look at a toolbox's agent, which is the shim now."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

from flask import Flask, Response, jsonify
from typing_extensions import TypedDict

from functions.domain import errors
from functions.domain.account.caller import Caller
from functions.domain.instance.container import ListedContainer, Port
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import ShimStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import Replay, StoredAnswer, run_once
from functions.lifecycle.instance import read as instances
from functions.lifecycle.toolbox import read as toolboxes
from functions.lifecycle.toolbox import shim as toolbox_shim
from functions.lifecycle.toolbox.change import ToolboxRequest
from functions.web.app import create
from functions.web.callers import Callers
from functions.web.fields import ToolboxId
from functions.web.idempotency import replay, request_key
from functions.web.record_types import SystemMetrics, Time, exact
from functions.web.records import system_metrics
from functions.web.requests import body, toolbox_id
from functions.web.route import ASKS_SHIM, Empty, Route
from shim.contract import errors as shim_errors
from shim.contract import routes

NAME = "toolbox-dtma-console"
SERVICE = "toolboxes-shim"


class Console(Empty):
    toolboxId: ToolboxId
    action: Literal["status", "restart", "redeploy"] = "status"


@exact
class AgentEnvironment(TypedDict):
    """What the agent needs to serve, by the frontend's names: it has proven its identity, and where to ask for keys."""

    hasAuthToken: bool
    hasApiKey: bool
    hasApiBaseUrl: bool
    port: int


@exact
class AgentPort(TypedDict):
    ip: str
    private_port: int
    public_port: int
    type: str


@exact
class AgentInstance(TypedDict):
    """A managed container as the engine lists it now; what a list does not hold is from the instance's record.

    `instance_name_on_toolbox`, `image` and `created` are null for a container that no instance's record knows.
    """

    account_tool_instance_id: str
    instance_name_on_toolbox: str | None
    container_id: str
    status: str
    image: str | None
    ports: list[AgentPort]
    created: Time | None


@exact
class AgentStatus(TypedDict):
    status: str
    timestamp: Time
    version: str
    service: str
    environment: AgentEnvironment
    tool_instances: list[AgentInstance]


@exact
class ConsoleStatus(TypedDict):
    success: bool
    dtma_status: AgentStatus
    system_metrics: SystemMetrics


@exact
class ConsoleAct(TypedDict):
    success: bool
    message: str
    action: str
    timestamp: Time


ACT = Route(
    "POST", "/", "How the toolbox's shim is; or have it restart, or be replaced by the configured one",
    {200: (ConsoleStatus, ConsoleAct), 202: ConsoleAct}, Console,
    problems=(
        *ASKS_SHIM, shim_errors.Busy, errors.NotFound, errors.NotAllowedNow, errors.OutcomeUnknown,
        errors.ShimNotReplaced,
    ),
    replayed=True,
)  # fmt: skip
ROUTES = (ACT,)


def build(deps: Dependencies, callers: Callers, fingerprint_key: bytes, shim_image: str) -> Flask:
    """`shim_image` is what a redeploy leads to, by digest."""
    app = create(NAME, deps.limits)

    @ACT.on(app)
    def act() -> tuple[Response, int]:
        caller, asked = callers(), body(Console)
        box = toolbox_id(asked.toolboxId)
        if asked.action == "redeploy":
            return redeploy(caller, box)
        request = request_key(caller.account, fingerprint_key)
        if asked.action == "restart":
            serving = partial(toolbox_shim.serving_since, deps, caller, box)
            status, told = run_once(deps, request, serving, lambda before: restarted(caller, box, before))
        else:
            known = partial(toolboxes.get, deps, caller, box)
            status, told = run_once(deps, request, lambda: known().id, lambda _: (200, shown(caller, known())))
        return jsonify(told), status

    def redeploy(caller: Caller, box: str) -> tuple[Response, int]:
        again: Replay[Toolbox] | None = replay(caller.account, fingerprint_key, lambda one: _redeployed(one, deps))
        answer = toolbox_shim.redeploy_shim(deps, ToolboxRequest(caller, box, again), shim_image)
        status, told = _redeployed(answer, deps) if isinstance(answer, Toolbox) else answer
        return jsonify(told), status

    def restarted(caller: Caller, box: str, before: str) -> StoredAnswer:
        version = toolbox_shim.restart_shim(deps, caller, box, before).version
        return 200, _acted(True, f"the shim was restarted, version {version}", "restart", deps)

    def shown(caller: Caller, toolbox: Toolbox) -> ConsoleStatus:
        status = toolbox_shim.query_status(deps, toolbox)
        listed = instances.page(deps, caller, toolbox.id, deps.limits.page, None)
        return console_status(toolbox, status, {one.id: one for one in listed}, deps.now().isoformat())

    return app


def _redeployed(toolbox: Toolbox, deps: Dependencies) -> StoredAnswer:
    done = toolbox.settled
    message = "the configured shim serves" if done else "the shim is being replaced"
    return 200 if done else 202, _acted(done, message, "redeploy", deps)


def _acted(success: bool, message: str, action: str, deps: Dependencies) -> ConsoleAct:
    return {"success": success, "message": message, "action": action, "timestamp": deps.now().isoformat()}


def console_status(toolbox: Toolbox, status: ShimStatus, known: Mapping[str, Instance], now: str) -> ConsoleStatus:
    enrolled = toolbox.fingerprint is not None
    assert status.metrics is not None
    return {
        "success": True,
        "dtma_status": {
            "status": "healthy" if status.complete else "degraded",
            "timestamp": now,
            "version": status.version,
            "service": SERVICE,
            # It has accepted a command of ours: it knows our keys, and learned them where it enrolled.
            "environment": {
                "hasAuthToken": enrolled, "hasApiKey": enrolled, "hasApiBaseUrl": enrolled, "port": routes.PORT
            },
            "tool_instances": [_listed(one, known.get(one.instance_id)) for one in status.containers],
        },
        "system_metrics": system_metrics(status.metrics),
    }  # fmt: skip


def _listed(one: ListedContainer, instance: Instance | None) -> AgentInstance:
    return {
        "account_tool_instance_id": one.instance_id,
        "instance_name_on_toolbox": instance.name if instance else None,
        "container_id": one.id,
        "status": one.state,
        "image": instance.spec.image if instance else None,
        "ports": [_port(port) for port in instance.spec.ports] if instance else [],
        "created": instance.created_at.isoformat() if instance else None,
    }


def _port(port: Port) -> AgentPort:
    return {
        "ip": port.host_ip,
        "private_port": port.container_port,
        "public_port": port.host_port,
        "type": port.protocol,
    }
