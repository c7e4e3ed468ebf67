"""The function `toolbox-dtma-console`: the existing frontend's view of a toolbox's agent, which is now the shim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

from flask import Flask, Response
from pydantic import Field

from functions.domain import errors
from functions.domain.account.model import Caller
from functions.domain.instance.container import ListedContainer
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import ShimStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import CommitHook, StoredAnswer
from functions.lifecycle.instance import read as instances
from functions.lifecycle.toolbox import read as toolboxes
from functions.lifecycle.toolbox import shim as toolbox_shim
from functions.lifecycle.toolbox.change import ToolboxRequest
from functions.web.app import create
from functions.web.fields import ToolboxId
from functions.web.idempotency import Idempotent
from functions.web.records import CamelRecord, Record, SystemMetrics, Time, as_json, at
from functions.web.requests import Callers, body, toolbox_id
from functions.web.route import SHIM_COMMAND, Body, Route
from shim.contract import errors as shim_errors
from shim.contract import routes

NAME = "toolbox-dtma-console"
SERVICE = "toolboxes-shim"


class Console(Body):
    toolbox_id: ToolboxId = Field(description="The toolbox's id.")
    action: Literal["status", "restart", "redeploy"] = Field(default="status", description="What to do.")


class AgentEnvironment(CamelRecord):
    """What the frontend's agent needed to serve. A shim has all of it once it has enrolled."""

    has_auth_token: bool = Field(description="Whether the shim has enrolled.")
    has_api_key: bool = Field(description="Whether the shim has enrolled.")
    has_api_base_url: bool = Field(description="Whether the shim has enrolled.")
    port: int = Field(description="Port on the droplet that the shim listens on.")


class AgentPort(Record):
    ip: str = Field(validation_alias="host_ip", description="Address of the droplet that the port is published on.")
    private_port: int = Field(validation_alias="container_port", description="Port inside the container.")
    public_port: int = Field(validation_alias="host_port", description="Port on the droplet.")
    type: str = Field(validation_alias="protocol", description="`tcp` or `udp`.")


class AgentInstance(Record):
    """A managed container as Docker lists it now, with what the list lacks from the instance's document."""

    account_tool_instance_id: str = at("container.instance_id", "The instance's id.", ...)
    instance_name_on_toolbox: str | None = at("instance.name", "Its name; null without a document.")
    container_id: str = at("container.id", "Docker's id of the container.", ...)
    status: str = at("container.state", "Docker's state of the container.", ...)
    image: str | None = at("instance.spec.image", "Image reference; null without a document.")
    ports: list[AgentPort] = at("instance.spec.ports", "Published ports; empty without a document.", [])
    created: Time | None = at("instance.created_at", "When it was requested; null without a document.")


class AgentStatus(Record):
    status: str = Field(description="`healthy`, or `degraded` where Docker's list could not be read to its end.")
    timestamp: Time = Field(description="When the shim answered.")
    version: str = Field(description="The shim's version.")
    service: str = Field(description=f"Always `{SERVICE}`.")
    environment: AgentEnvironment = Field(description="What the agent needs to serve.")
    tool_instances: list[AgentInstance] = Field(description="The managed containers on the droplet.")


class ConsoleStatus(Record):
    success: bool = Field(description="Always true: a shim that does not answer is a problem document.")
    dtma_status: AgentStatus = Field(description="The shim and its containers.")
    system_metrics: SystemMetrics = Field(description="What the droplet uses.")


class ConsoleAction(Record):
    success: bool = Field(description="Whether it is done and was seen to be done.")
    message: str = Field(description="The outcome in a sentence.")
    action: str = Field(description="The action.")
    timestamp: Time = Field(description="When it was answered.")


ACT = Route(
    operation="actOnShim",
    method="POST",
    path="/",
    summary="Get a shim's status, restart it or redeploy it",
    description=(
        "`restart` succeeds once another process of the shim has answered; `redeploy` once the configured shim has, "
        "and is a 202 where that takes long. Containers keep running."
    ),
    answers={200: (ConsoleStatus, ConsoleAction), 202: ConsoleAction},
    body=Console,
    problems=(
        *SHIM_COMMAND,
        shim_errors.Busy,
        errors.NotFound,
        errors.NotAllowedNow,
        errors.OutcomeUnknown,
        errors.ShimNotReplaced,
    ),
    idempotent=True,
)
ROUTES = (ACT,)


def build(deps: Dependencies, callers: Callers, fingerprint_key: bytes, shim_image: str) -> Flask:
    """`shim_image` is the image, by digest, that a redeploy installs."""
    app, idempotent = create(NAME, deps.limits), Idempotent(deps, fingerprint_key)

    @ACT.on(app)
    def act() -> Response:
        caller, requested = callers(), body(Console)
        box = toolbox_id(requested.toolbox_id)
        if requested.action == "redeploy":
            return redeploy(caller, box)
        if requested.action == "restart":
            return idempotent.act(
                caller,
                partial(toolbox_shim.serving_since, deps, caller, box),
                partial(toolbox_shim.restart_shim, deps, caller, box),
                lambda after: _action(200, f"the shim was restarted, version {after.version}", "restart", deps),
            )
        get = partial(toolboxes.get, deps, caller, box)
        return idempotent.act(
            caller,
            lambda: get().id,
            lambda _: status(get()),
            lambda record: StoredAnswer(200, as_json(record)),
        )

    def redeploy(caller: Caller, box: str) -> Response:
        def resumed(about: str, commit: CommitHook) -> Toolbox:
            toolbox = toolboxes.get(deps, caller, about)
            return toolbox_shim.await_redeploy(deps, caller, toolbox, shim_image, commit)

        return idempotent(
            caller,
            lambda commit: toolbox_shim.redeploy_shim(deps, ToolboxRequest(caller, box, commit), shim_image),
            resumed,
            lambda toolbox: _redeployed(toolbox, deps),
        )

    def status(toolbox: Toolbox) -> ConsoleStatus:
        answered = toolbox_shim.query_status(deps, toolbox)
        return console_status(toolbox, answered, instances.by_id(deps, toolbox), deps.now())

    return app


def _redeployed(toolbox: Toolbox, deps: Dependencies) -> StoredAnswer:
    if toolbox.settled:
        return _action(200, "the configured shim serves", "redeploy", deps)
    return _action(202, "the shim is being replaced", "redeploy", deps)


def _action(status: int, message: str, action: str, deps: Dependencies) -> StoredAnswer:
    now = deps.now().isoformat()
    record = ConsoleAction(success=status == 200, message=message, action=action, timestamp=now)
    return StoredAnswer(status, as_json(record))


@dataclass(frozen=True, slots=True)
class _Listed:
    container: ListedContainer
    instance: Instance | None


def console_status(toolbox: Toolbox, status: ShimStatus, known: Mapping[str, Instance], now: datetime) -> ConsoleStatus:
    """`known`: the toolbox's instances by their ids."""
    # The shim has accepted a signed command, so it knows the keys that it was requested when it enrolled.
    enrolled = toolbox.fingerprint is not None
    listed = [_Listed(found, known.get(found.instance_id)) for found in status.containers]
    return ConsoleStatus(
        success=True,
        dtma_status=AgentStatus(
            status="healthy" if status.complete else "degraded",
            timestamp=now.isoformat(),
            version=status.version,
            service=SERVICE,
            environment=AgentEnvironment(
                has_auth_token=enrolled, has_api_key=enrolled, has_api_base_url=enrolled, port=routes.PORT
            ),
            tool_instances=[AgentInstance.model_validate(pair) for pair in listed],
        ),
        system_metrics=SystemMetrics.model_validate(status.metrics),
    )
