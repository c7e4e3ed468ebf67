"""A small MCP server over streamable HTTP, answering as JSON or as a stream of events."""

from __future__ import annotations

import json

from shim.contract import messages


class Server:
    """`methods` records the methods of the requests, in order."""

    def __init__(self, tools: list[str], *, stream: bool = False, page: int = 100) -> None:
        self.tools, self.stream, self.page, self.methods = tools, stream, page, list[str]()

    def __call__(self, request: messages.Request) -> messages.Response:
        if request.method == "DELETE":
            self.methods.append("goodbye")
            return messages.Response(200, {}, "", truncated=False)
        message = json.loads(request.body)
        self.methods.append(message["method"])
        if message["method"] == "notifications/initialized":
            assert request.headers["mcp-session-id"] == "s-1"
            return messages.Response(202, {}, "", truncated=False)
        if message["method"] == "initialize":
            return self._answer(message["id"], {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}})
        first = int(message["params"].get("cursor", 0))
        listed = self.tools[first : first + self.page]
        more = {"nextCursor": str(first + self.page)} if first + self.page < len(self.tools) else {}
        return self._answer(message["id"], {"tools": [{"name": name} for name in listed], **more})

    def _answer(self, request_id: int, result: object) -> messages.Response:
        text = json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})
        body = f": hello\n\nevent: message\ndata: {text}\n\n" if self.stream else text
        kind = "text/event-stream" if self.stream else "application/json"
        return messages.Response(200, {"content-type": kind, "mcp-session-id": "s-1"}, body, truncated=False)
