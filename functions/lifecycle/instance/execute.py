"""Execute one step of an instance's plan: one call of the shim, and what it showed folded into the instance.

Nothing is decided here. An error is folded in like any other observation, so that the next decision starts from it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from functions.domain.errors import SecretsUnreadable, ToolboxesError
from functions.domain.instance import host_port, mcp, observe
from functions.domain.instance.container import Container
from functions.domain.instance.image import PullProgress
from functions.domain.instance.mcp import HttpRequest, HttpResponse
from functions.domain.instance.model import Instance, McpServer
from functions.domain.instance.settle import roll_back
from functions.domain.instance.spec import container_config
from functions.domain.instance.steps import (
    AwaitHealth,
    CreateContainer,
    Inspect,
    ProbeMcp,
    PullImage,
    ReallocatePorts,
    RecordPostMortem,
    RemoveContainer,
    RestartContainer,
    RollBack,
    StartContainer,
    Step,
    StopContainer,
)
from functions.domain.secrets import redact
from functions.lifecycle.account import registries
from functions.lifecycle.dependencies import Dependencies, Shim, Vault, Write
from functions.lifecycle.instance import post_mortem, secrets
from functions.lifecycle.repository import release_reservations, reserve
from shim.contract import errors as shim_errors

Progress = Callable[[PullProgress], None]


def execute(
    step: Step, shim: Shim, instance: Instance, start_by: datetime, deps: Dependencies, on_progress: Progress
) -> tuple[Instance, list[Write]]:
    """Return the instance with what this step observed folded in, and the writes that belong into the same commit."""
    now = deps.now
    try:
        match step:
            case PullImage():
                credentials = registries.credentials(deps, instance.account, step.image)
                shim.pull(step.image, credentials, start_by=start_by, on_progress=on_progress)
                return observe.fold_pull(instance, now()), []
            case ProbeMcp():
                return observe.fold_mcp(instance, _probe(step, shim, start_by, now)), []
            case RecordPostMortem():
                document = post_mortem.record(step, shim, instance, start_by, deps)
                return observe.fold_post_mortem(instance, step), [document]
            case ReallocatePorts():
                after = host_port.reallocate(instance, step.ports, deps.draw)
                return after, [*reserve(after, instance), *release_reservations(instance, after)]
            case RollBack():
                after = roll_back(instance)
                return after, release_reservations(instance, after)
        container = _command(step, shim, instance, start_by, deps.vault)
        return observe.fold_container(instance, step, container, now()), []
    except (shim_errors.ShimError, ToolboxesError) as error:
        return observe.fold_error(instance, step, _redacted(error, deps.vault, instance), now(), start_by), []


def _command(step: Step, shim: Shim, instance: Instance, start_by: datetime, vault: Vault) -> Container | None:
    match step:
        case CreateContainer():
            values = secrets.decrypt(vault, instance, step.spec)
            config = container_config(step.instance_id, step.spec_generation, step.spec, values)
            return shim.create(config, start_by=start_by)
        case StartContainer():
            return shim.start(step.container, start_by=start_by)
        case RestartContainer():
            return shim.restart(step.container, started_at=step.started_at, start_by=start_by)
        case StopContainer():
            return shim.stop(step.container, start_by=start_by)
        case RemoveContainer():
            return shim.remove(step.container, start_by=start_by)
        case Inspect() | AwaitHealth():
            return shim.inspect(step.container, start_by=start_by)
    raise AssertionError(f"no command for step {step}")


def _redacted(error: observe.Problem, vault: Vault, instance: Instance) -> observe.Problem:
    """Return the error as it may be stored and shown: its message may quote what the container printed."""
    if isinstance(error, SecretsUnreadable):
        return error
    try:
        values = secrets.secret_values(vault, instance)
    except SecretsUnreadable:
        return type(error)(f"{error.code}; the message is left out, since it may hold a secret that cannot be redacted")
    return type(error)(redact(str(error), values))


# The MCP probe: `initialize`, then `tools/list`, through the shim.


def _probe(step: ProbeMcp, shim: Shim, start_by: datetime, now: Callable[[], datetime]) -> McpServer:
    """Return what the MCP server answers. Raises NotAnswering while nothing answers, or not as an MCP server does."""

    def send(request: HttpRequest) -> HttpResponse:
        return shim.http_request(step.container, request, start_by=start_by)

    port, path = step.mcp.port, step.mcp.path
    try:
        session = mcp.session_headers(send(mcp.initialize(port, path)))
        send(mcp.initialized(port, path, session))
        tools = _list_tools(port, path, session, send)
    except mcp.McpError as error:
        raise shim_errors.NotAnswering(f"port {port} does not answer as an MCP server: {error}") from None
    if mcp.SESSION_HEADER in session:
        # Without this a server that is probed at every start would pile up sessions.
        send(mcp.end_session(port, path, session))
    return McpServer(len(tools), mcp.tools_hash(tools), now(), step.endpoint_id)


def _list_tools(
    port: int, path: str, session: dict[str, str], send: Callable[[HttpRequest], HttpResponse]
) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for page in range(mcp.MAX_PAGES):
        result = mcp.result(send(mcp.list_tools(port, path, session, page, cursor)), page + 1)
        listed, cursor = result.get("tools"), result.get("nextCursor")
        if not isinstance(listed, list):
            raise mcp.McpError("the answer to tools/list holds no list")
        tools += listed
        if not cursor:
            return tools
    raise mcp.McpError(f"the list of tools has more than {mcp.MAX_PAGES} pages")
