"""The messages of the MCP probe over streamable HTTP: what to send, and what an answer means. No I/O.

https://modelcontextprotocol.io/specification/2025-06-18/basic/transports
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

PROTOCOL_VERSION = "2025-06-18"
# Of tools/list. A server that gives a cursor with every page must not keep the probe for ever.
MAX_PAGES = 10
MAX_TOOLS = 10_000
MAX_CURSOR_CHARACTERS = 4_096
# Of what a server answers. Deeper than this the stack of whoever reads or writes it again would be at stake.
MAX_DEPTH = 100
# Both are sent back in headers: visible ASCII, as the specification demands of a session id.
_VERSION, _SESSION = re.compile(r"[\x21-\x7e]{1,64}"), re.compile(r"[\x21-\x7e]{1,1024}")
SESSION_HEADER = "mcp-session-id"
VERSION_HEADER = "mcp-protocol-version"
_ACCEPT = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An HTTP request to the container's own address. `timeout` is in seconds, for the whole exchange."""

    port: int
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    timeout: int = 10


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The response: header names in lower case, the body decoded as UTF-8 and cut off where `truncated`."""

    status: int
    headers: dict[str, str]
    body: str
    truncated: bool


class McpError(Exception):
    """The answer is not that of an MCP server; the message says what is wrong with it."""


def initialize(port: int, path: str) -> HttpRequest:
    """Return the request that starts a session."""
    parameters = {
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "toolboxes", "version": "1"},
    }
    return _post(port, path, {"id": 0, "method": "initialize", "params": parameters}, {})


def initialized(port: int, path: str, session: dict[str, str]) -> HttpRequest:
    """Return the notification that a server must get before it answers anything else."""
    return _post(port, path, {"method": "notifications/initialized"}, session)


def list_tools(port: int, path: str, session: dict[str, str], page: int, cursor: str | None) -> HttpRequest:
    """Return the request for one page of the tools; its JSON-RPC id is `page + 1`."""
    parameters = {"cursor": cursor} if cursor else {}
    return _post(port, path, {"id": page + 1, "method": "tools/list", "params": parameters}, session)


def end_session(port: int, path: str, session: dict[str, str]) -> HttpRequest:
    """Return the request that ends the session."""
    return HttpRequest(port=port, method="DELETE", path=path, headers={**_ACCEPT, **session})


def session_headers(answer: HttpResponse) -> dict[str, str]:
    """Return the headers that later requests carry, from the answer to `initialize`. Raises McpError."""
    version = result(answer, 0).get("protocolVersion")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise McpError("the answer to initialize names no protocolVersion")
    if not _SESSION.fullmatch(answer.headers.get(SESSION_HEADER, "none")):
        raise McpError("the Mcp-Session-Id must be 1 to 1024 visible ASCII characters")
    session = {SESSION_HEADER: answer.headers[SESSION_HEADER]} if SESSION_HEADER in answer.headers else {}
    return {**session, VERSION_HEADER: version}


def result(answer: HttpResponse, request_id: int) -> dict[str, Any]:
    """Return the result of a JSON-RPC request, which comes as JSON or in a stream of events. Raises McpError."""
    if answer.status != 200:
        raise McpError(f"HTTP {answer.status}: {answer.body[:200]}")
    for text in _payloads(answer):
        try:
            message = json.loads(text)
        # RecursionError: JSON that nests deeper than the interpreter's stack.
        except (ValueError, RecursionError):
            continue
        if _is_deep(message):
            raise McpError(f"the answer nests deeper than {MAX_DEPTH} levels")
        if isinstance(message, dict) and message.get("id") == request_id:
            if isinstance(message.get("result"), dict):
                return dict(message["result"])
            raise McpError(f"the server answered an error: {json.dumps(message.get('error'))[:200]}")
    raise McpError("the answer holds no JSON-RPC result")


def tools_page(listed: dict[str, Any], count: int) -> tuple[list[Any], str | None]:
    """Return a page's tools and the cursor of the next page; `count` tools came before. Raises McpError."""
    tools, cursor = listed.get("tools"), listed.get("nextCursor") or None
    if not isinstance(tools, list):
        raise McpError("the answer to tools/list holds no list")
    if count + len(tools) > MAX_TOOLS:
        raise McpError(f"the server lists more than {MAX_TOOLS} tools")
    if cursor is not None and (not isinstance(cursor, str) or len(cursor) > MAX_CURSOR_CHARACTERS):
        raise McpError(f"nextCursor must be a string of at most {MAX_CURSOR_CHARACTERS} characters")
    return tools, cursor


def tools_hash(tools: list[Any]) -> str:
    """Hash the tools in any order; the hash changes with a name, a description or a schema."""
    texts = sorted(json.dumps(tool, sort_keys=True, separators=(",", ":")) for tool in tools)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [value for values in below for value in values]
        if not level:
            return False
    return True


def _post(port: int, path: str, message: dict[str, Any], session: dict[str, str]) -> HttpRequest:
    body = json.dumps({"jsonrpc": "2.0", **message})
    return HttpRequest(port=port, method="POST", path=path, headers={**_ACCEPT, **session}, body=body)


def _payloads(answer: HttpResponse) -> list[str]:
    """Return the JSON texts in the answer: its body, or the data of each server-sent event."""
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return [answer.body]
    events = answer.body.replace("\r\n", "\n").split("\n\n")
    lines = ([line[5:].lstrip() for line in event.split("\n") if line.startswith("data:")] for event in events)
    return ["\n".join(data) for data in lines if data]
