"""The answers to the MCP probe, well-formed and not."""

import json

import pytest

from functions.domain.instance.mcp import HttpResponse, McpError, result, session_headers, tools_hash


def answer(body: str, *, status: int = 200, content_type: str = "application/json", **headers: str) -> HttpResponse:
    return HttpResponse(status, {"content-type": content_type, **headers}, body, truncated=False)


INITIALIZED = json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-06-18"}})


def test_session_carries_the_protocol_version_and_the_servers_session_id() -> None:
    assert session_headers(answer(INITIALIZED)) == {"mcp-protocol-version": "2025-06-18"}
    with_session = HttpResponse(200, {"mcp-session-id": "s-1"}, INITIALIZED, truncated=False)
    assert session_headers(with_session) == {"mcp-session-id": "s-1", "mcp-protocol-version": "2025-06-18"}


def test_result_is_found_among_the_events_of_a_stream() -> None:
    notification = json.dumps({"jsonrpc": "2.0", "method": "notifications/message"})
    stream = f": comment\r\n\r\nevent: message\r\ndata: {notification}\r\n\r\ndata: {INITIALIZED}\r\n\r\n"
    assert result(answer(stream, content_type="text/event-stream"), 0) == {"protocolVersion": "2025-06-18"}


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (answer("not found", status=404), "HTTP 404: not found"),
        (answer("<html>"), "holds no JSON-RPC result"),
        (answer("[]"), "holds no JSON-RPC result"),
        (answer(json.dumps({"id": 7, "result": {}})), "holds no JSON-RPC result"),
        (answer("", content_type="text/event-stream"), "holds no JSON-RPC result"),
        (answer(json.dumps({"id": 0, "error": {"code": -32600}})), "the server answered an error"),
        (answer(json.dumps({"id": 0, "result": []})), "the server answered an error"),
        (answer(json.dumps({"id": 0, "result": {}})), "names no protocolVersion"),
        (answer(json.dumps({"id": 0, "result": {"protocolVersion": 1}})), "names no protocolVersion"),
    ],
)
def test_answer_of_no_mcp_server_is_described(response: HttpResponse, message: str) -> None:
    with pytest.raises(McpError, match=message):
        session_headers(response)


def test_tools_hash_ignores_order_and_changes_with_a_description() -> None:
    first, second = {"name": "a", "description": "x"}, {"name": "b"}
    assert tools_hash([first, second]) == tools_hash([second, first])
    assert tools_hash([first, second]) != tools_hash([{**first, "description": "y"}, second])
