"""One step, one call of the shim, one sighting. No judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from functions.domain.errors import SecretsUnreadable, ToolboxesError
from functions.domain.instance import mcp, observe
from functions.domain.instance.container import Container
from functions.domain.instance.host_port import with_reallocated_ports
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
from functions.lifecycle.instance import host_ports, post_mortem, secrets
from functions.lifecycle.repository import release_reservations, reserve
from shim.contract import errors as shim_errors

Progress = Callable[[PullProgress], None]


def execute(
    step: Step, shim: Shim, instance: Instance, start_by: datetime, deps: Dependencies, on_progress: Progress
) -> tuple[Instance, list[Write]]:
    """The instance with what this step saw folded in, its error included, and what is to be saved with it."""
    now = deps.now
    try:
        match step:
            case PullImage():
                credentials = registries.credentials(deps, instance.account, step.image)
                shim.pull(step.image, credentials, start_by=start_by, on_progress=on_progress)
                return observe.fold_pull(instance, now()), []
            case ProbeMcp():
                return observe.fold_mcp(instance, probe_mcp(step, shim, start_by, now)), []
            case RecordPostMortem():
                return observe.fold_post_mortem(instance, step), [
                    post_mortem.record(step, shim, instance, start_by, deps)
                ]
            case ReallocatePorts():
                other = with_reallocated_ports(instance, host_ports.reallocate(deps, instance, step.ports))
                return other, [*reserve(other, instance), *release_reservations(instance, other)]
            case RollBack():
                back = roll_back(instance)
                return back, release_reservations(instance, back)
        return observe.fold_container(instance, step, _command(step, shim, instance, start_by, deps.vault), now()), []
    except (shim_errors.ShimError, ToolboxesError) as error:
        return observe.fold_error(instance, step, _struck(error, deps.vault, instance), now(), start_by), []


def _command(step: Step, shim: Shim, instance: Instance, start_by: datetime, vault: Vault) -> Container | None:
    match step:
        case CreateContainer():
            opened = secrets.decrypt(vault, instance, step.spec)
            config = container_config(step.instance_id, step.spec_generation, step.spec, opened)
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


def _struck(error: observe.Problem, vault: Vault, instance: Instance) -> observe.Problem:
    """The error as it may go on record: it may quote what a container said."""
    if isinstance(error, SecretsUnreadable):
        return error
    try:
        known = secrets.secret_values(vault, instance)
    except SecretsUnreadable:
        return type(error)(f"{error.code}; what was said is left out, since it may hold a secret")
    return type(error)(redact(str(error), known))


# Whether an MCP server answers, proven by asking it: `initialize`, then `tools/list`, through the shim.


def probe_mcp(step: ProbeMcp, shim: Shim, start_by: datetime, now: Callable[[], datetime]) -> McpServer:
    """Raises protocol.NotAnswering while nothing answers, or not as an MCP server does."""

    def ask(request: HttpRequest) -> HttpResponse:
        return shim.http_request(step.container, request, start_by=start_by)

    port, path = step.mcp.port, step.mcp.path
    try:
        session = mcp.session_headers(ask(mcp.initialize(port, path)))
        ask(mcp.initialized(port, path, session))
        tools = _tools(port, path, session, ask)
    except mcp.McpError as error:
        raise shim_errors.NotAnswering(f"port {port} does not answer as an MCP server: {error}") from None
    if mcp.SESSION_HEADER in session:
        ask(mcp.end_session(port, path, session))
    return McpServer(len(tools), mcp.tools_hash(tools), now(), step.endpoint_id)


def _tools(port: int, path: str, session: dict[str, str], ask: Callable[[HttpRequest], HttpResponse]) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for page in range(mcp.MAX_PAGES):
        said = mcp.result(ask(mcp.list_tools(port, path, session, page, cursor)), page + 1)
        listed, cursor = said.get("tools"), said.get("nextCursor")
        if not isinstance(listed, list):
            raise mcp.McpError("the answer to tools/list holds no list")
        tools += listed
        if not cursor:
            return tools
    raise mcp.McpError(f"the list of tools has more than {mcp.MAX_PAGES} pages")
