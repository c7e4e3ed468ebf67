"""Whether an MCP server answers, proven by asking it: `initialize`, then `tools/list`, through the shim."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from functions.domain import mcp
from functions.domain.instance import McpSeen
from functions.domain.plan import ShakeHands
from functions.lifecycle.ports import Shim
from shim.contract import errors as shim_errors
from shim.contract import messages, routes


def shake_hands(step: ShakeHands, shim: Shim, start_by: datetime, now: Callable[[], datetime]) -> McpSeen:
    """Raises protocol.NotAnswering while nothing answers, or not as an MCP server does."""

    def ask(request: messages.Request) -> messages.Response:
        answer = shim.command(routes.REQUEST, name=step.container, body=request, start_by=start_by)
        assert isinstance(answer, messages.Response)
        return answer

    port, path = step.mcp.port, step.mcp.path
    try:
        session = mcp.session_of(ask(mcp.initialize(port, path)))
        ask(mcp.initialized(port, path, session))
        tools = _tools(port, path, session, ask)
    except mcp.NotMcp as error:
        raise shim_errors.NotAnswering(f"port {port} does not answer as an MCP server: {error}") from None
    if mcp.SESSION_HEADER in session:
        ask(mcp.goodbye(port, path, session))
    return McpSeen(len(tools), mcp.tools_hash(tools), now(), step.endpoint_id)


def _tools(
    port: int, path: str, session: dict[str, str], ask: Callable[[messages.Request], messages.Response]
) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for page in range(mcp.MAX_PAGES):
        said = mcp.result(ask(mcp.list_tools(port, path, session, page, cursor)), page + 1)
        listed, cursor = said.get("tools"), said.get("nextCursor")
        if not isinstance(listed, list):
            raise mcp.NotMcp("the answer to tools/list holds no list")
        tools += listed
        if not cursor:
            return tools
    raise mcp.NotMcp(f"the list of tools has more than {mcp.MAX_PAGES} pages")
