"""The MCP handshake over streamable HTTP, as messages: what to ask, and what an answer says. No I/O of its own.

https://modelcontextprotocol.io/specification/2025-06-18/basic/transports
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

PROTOCOL_VERSION = "2025-06-18"
MAX_PAGES = 10
SESSION_HEADER = "mcp-session-id"
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
    """A sentence on what the answer lacks."""


def initialize(port: int, path: str) -> HttpRequest:
    parameters = {
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "toolboxes", "version": "1"},
    }
    return _post(port, path, {"id": 0, "method": "initialize", "params": parameters}, {})


def initialized(port: int, path: str, session: dict[str, str]) -> HttpRequest:
    return _post(port, path, {"method": "notifications/initialized"}, session)


def list_tools(port: int, path: str, session: dict[str, str], page: int, cursor: str | None) -> HttpRequest:
    parameters = {"cursor": cursor} if cursor else {}
    return _post(port, path, {"id": page + 1, "method": "tools/list", "params": parameters}, session)


def end_session(port: int, path: str, session: dict[str, str]) -> HttpRequest:
    return HttpRequest(port=port, method="DELETE", path=path, headers={**_ACCEPT, **session})


def session_headers(answer: HttpResponse) -> dict[str, str]:
    """The headers that later requests carry. Raises NotMcp."""
    version = result(answer, 0).get("protocolVersion")
    if not isinstance(version, str):
        raise McpError("the answer to initialize names no protocolVersion")
    session = {SESSION_HEADER: answer.headers[SESSION_HEADER]} if SESSION_HEADER in answer.headers else {}
    return {**session, "mcp-protocol-version": version}


def result(answer: HttpResponse, request_id: int) -> dict[str, Any]:
    """The result of the JSON-RPC request, whether it came as JSON or as a stream of events. Raises NotMcp."""
    if answer.status != 200:
        raise McpError(f"HTTP {answer.status}: {answer.body[:200]}")
    for text in _payloads(answer):
        try:
            said = json.loads(text)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("id") == request_id:
            if isinstance(said.get("result"), dict):
                return dict(said["result"])
            raise McpError(f"the server answered an error: {json.dumps(said.get('error'))[:200]}")
    raise McpError("the answer holds no JSON-RPC result")


def tools_hash(tools: list[Any]) -> str:
    """The same for the same tools in any order; changes with a name, a description or a schema."""
    texts = sorted(json.dumps(tool, sort_keys=True, separators=(",", ":")) for tool in tools)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _post(port: int, path: str, message: dict[str, Any], session: dict[str, str]) -> HttpRequest:
    body = json.dumps({"jsonrpc": "2.0", **message})
    return HttpRequest(port=port, method="POST", path=path, headers={**_ACCEPT, **session}, body=body)


def _payloads(answer: HttpResponse) -> list[str]:
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        return [answer.body]
    events = answer.body.replace("\r\n", "\n").split("\n\n")
    lines = ([line[5:].lstrip() for line in event.split("\n") if line.startswith("data:")] for event in events)
    return ["\n".join(data) for data in lines if data]
