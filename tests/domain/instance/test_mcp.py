"""The answers to the MCP probe, well-formed and not."""

import json

import pytest

from functions.domain.instance.mcp import HttpResponse, McpError, result, session_headers, tools_hash, tools_page


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


@pytest.mark.parametrize(
    "body",
    [
        "[" * 200_000,
        '{"id":' * 200_000,
        '{"id": 0, "result": ' + "[" * 900 + "]" * 900 + "}",
        '{"id": 0, "error": ' + "[" * 900 + "]" * 900 + "}",
        '{"id": 0, "result": {"protocolVersion": ' + "1" * 10_000 + "}}",
        json.dumps({"id": 10**30, "result": {}}),
        json.dumps({"id": float("nan"), "result": {}}),
        json.dumps({"id": 0, "result": {"protocolVersion": "x" * 65}}),
        json.dumps({"id": 0, "result": {"protocolVersion": "1\r\nX-Forged: 1"}}),
    ],
    ids=lambda body: body[:40],
)
def test_answer_out_of_bounds_is_no_answer_of_an_mcp_server(body: str) -> None:
    for content_type in ("application/json", "text/event-stream"):
        with pytest.raises(McpError):
            session_headers(answer(f"data: {body}" if "event" in content_type else body, content_type=content_type))


@pytest.mark.parametrize("session", ["x" * 1_025, "a b", "\xe9", ""])
def test_session_id_that_is_no_header_value_is_refused(session: str) -> None:
    with pytest.raises(McpError, match="Mcp-Session-Id"):
        session_headers(HttpResponse(200, {"mcp-session-id": session}, INITIALIZED, truncated=False))


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({}, "no list"),
        ({"tools": {}}, "no list"),
        ({"tools": [0] * 10_001}, "more than 10000"),
        ({"tools": [], "nextCursor": "x" * 4_097}, "nextCursor"),
        ({"tools": [], "nextCursor": {"a": 1}}, "nextCursor"),
    ],
    ids=["none", "object", "many", "long", "object-cursor"],
)
def test_a_page_of_tools_out_of_bounds_is_refused(listed: dict[str, object], message: str) -> None:
    with pytest.raises(McpError, match=message):
        tools_page(listed, 0)


def test_tools_hash_ignores_order_and_changes_with_a_description() -> None:
    first, second = {"name": "a", "description": "x"}, {"name": "b"}
    assert tools_hash([first, second]) == tools_hash([second, first])
    assert tools_hash([first, second]) != tools_hash([{**first, "description": "y"}, second])
