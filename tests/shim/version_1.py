"""A shim of contract version 1, as its recorded contract describes it.

It has that version's routes and message shapes, and its answer to commands of another version. It uses no
module of the present shim. The form of tokens is the same in all versions.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
from flask import Flask, Response, request

from tests.shim.contracts import recorded

CONTRACT = recorded(1)
HEADER = {"Toolboxes-Contract": "1"}


class Peer:
    """`received` lists (method, path, body) of each accepted command; `answers` replaces the sample answer by path."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str, Any]] = []
        self.answers: dict[str, bytes] = {}
        self.refused = 0
        self.app = Flask("version 1")
        self.app.add_url_rule("/", "any", self._answer, defaults={"path": ""})
        self.app.add_url_rule("/<path:path>", "any", self._answer, methods=["GET", "POST", "DELETE"])

    def _answer(self, path: str) -> Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        if claims["contract"] != 1:
            self.refused += 1
            return _error(409, "shim-incompatible", f"the command speaks contract {claims['contract']}, this shim 1")
        route = next((known for known in CONTRACT["routes"] if _matches(known, request.method, request.path)), None)
        if route is None:
            return _error(404, "unknown-route", "this shim has no such route")
        body = json.loads(request.get_data() or b"{}")
        if problem := problem_of(route["body"], body):
            return _error(400, "bad-request", problem)
        self.received.append((request.method, request.path, body))
        answer = self.answers.get(route["path"]) or json.dumps(sample(route["answer"])).encode()
        headers = HEADER | ({"ETag": '"1"'} if route["path"] == "/status" else {})
        return Response(answer, 200, headers, mimetype="application/json")


def sample(kind: str) -> Any:
    """A value of a recorded type, with all of its fields."""
    if kind.endswith(" | null"):
        return None
    if kind.startswith("["):
        return [sample(kind[1:-1])]
    if kind.startswith("{"):
        return {"key": sample(kind[1:-1])}
    plain: dict[str, Any] = {"string": "tcp", "integer": 1, "number": 1.5, "boolean": True}
    if kind in plain:
        return plain[kind]
    return {name: sample(field["type"]) for name, field in CONTRACT["messages"][kind].items()}


def problem_of(kind: str, value: Any) -> str:
    """The reason for which a shim of version 1 refuses this body, or "" if it accepts it."""
    fields = CONTRACT["messages"][kind]
    if unknown := sorted(value.keys() - fields.keys()):
        return f"{kind} has no field {unknown[0]!r}"
    if missing := [name for name, field in fields.items() if "default" not in field and name not in value]:
        return f"{kind} lacks the field {missing[0]!r}"
    for name, item in value.items():
        inner = fields[name]["type"].removesuffix(" | null").strip("[]")
        for element in item if isinstance(item, list) else [item]:
            if inner in CONTRACT["messages"] and element is not None and (problem := problem_of(inner, element)):
                return problem
    return ""


def _matches(route: dict[str, Any], method: str, path: str) -> bool:
    pattern, parts = route["path"].split("/"), path.split("/")
    same = len(pattern) == len(parts) and all(a == b or a.startswith("{") for a, b in zip(pattern, parts, strict=True))
    return bool(same and route["method"] == method)


def _error(status: int, code: str, message: str) -> Response:
    body = json.dumps({"error": {"code": code, "message": message}})
    return Response(body, status, HEADER, mimetype="application/json")
