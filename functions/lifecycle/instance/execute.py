"""Execute one step of an instance's plan: one call of the shim, and what it showed folded into the instance.

The MCP probe and the post-mortem are steps of several calls.

Nothing is decided here. An error is folded in like any other observation, so that the next decision starts from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from functions.domain.errors import SecretsUnreadable, ToolboxesError
from functions.domain.instance import host_port, mcp, observe
from functions.domain.instance.container import Container
from functions.domain.instance.mcp import HttpRequest, HttpResponse
from functions.domain.instance.model import Instance, McpServer
from functions.domain.instance.observe import roll_back
from functions.domain.instance.spec import PullProgress, container_config
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
from functions.domain.secrets import Redactor
from functions.lifecycle.account import registries
from functions.lifecycle.dependencies import Dependencies, Document, Put, Ref, Shim, Vault, Write
from functions.lifecycle.instance import secrets
from functions.lifecycle.repository import INSTANCES, release_reservations, reserve
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
                document = record(step, shim, instance, start_by, deps)
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
        redact = Redactor(secrets.secret_values(vault, instance))
    except SecretsUnreadable:
        return type(error)(f"{error.code}; the message is left out, since it may hold a secret that cannot be redacted")
    return type(error)(redact(str(error)))


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
        listed, cursor = mcp.tools_page(result, len(tools))
        tools += listed
        if not cursor:
            return tools
    raise mcp.McpError(f"the list of tools has more than {mcp.MAX_PAGES} pages")


# The post-mortem of a container that ended or is about to be removed: its last log lines and its last inspect.

LINES = 200
# Of a document's 1 MiB; a line can be 64 KiB.
MAX_LOG_BYTES = 256_000
TIMEOUT = timedelta(seconds=10)
TTL = timedelta(days=30)


def record(step: RecordPostMortem, shim: Shim, instance: Instance, start_by: datetime, deps: Dependencies) -> Put:
    """Return the document for the next commit. What could not be read is named in its `missing`, never made up."""
    missing: list[str] = []
    lines: list[str] = []
    now = deps.now()
    try:
        redact = Redactor(secrets.secret_values(deps.vault, instance))
        logs = shim.logs(step.container, tail=LINES, start_by=start_by, timeout=TIMEOUT.total_seconds())
        lines = _newest([f"{line.time} {line.stream} {redact(line.text)}" for line in logs.lines])
    except (shim_errors.ShimError, ToolboxesError) as error:
        missing.append(f"logs: {observe.reason_of(error).message}")
    observed = instance.observed
    container = observed.previous if step.container == instance.previous_name else observed.container
    document: Document = {
        "container_name": step.container,
        "generation": instance.desired.generation,
        "cause": step.cause,
        "time": now,
        "container": asdict(container) if container else None,
        "logs": lines,
        "missing": missing,
        "expire_at": now + TTL,
    }
    post_mortem_id = hashlib.sha256(step.exit_id.encode()).hexdigest()[:20]
    return Put(Ref(f"{INSTANCES}/{instance.id}/post_mortems", post_mortem_id), document)


def _newest(lines: list[str]) -> list[str]:
    """Return the newest of `lines`, as many as a document has space for."""
    size, count = 0, 0
    for line in reversed(lines):
        size += len(line.encode())
        if size > MAX_LOG_BYTES:
            break
        count += 1
    return lines[len(lines) - count :]
