"""Holds an answer against what openapi.json says of its route: status, media type, every field, every problem."""

from __future__ import annotations

from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from functions.web import openapi, problems

# What comes before a route is found, and what a bug answers.
ANYWHERE = {"unknown-route", "method-not-allowed", "internal-error"}


def hold(app: Flask, function: str, method: str, answer: TestResponse) -> None:
    """Raises AssertionError where the document does not say so."""
    if method == "OPTIONS":
        return
    operation = _operation(app, function, method, answer.request.path)
    if operation is None:
        assert answer.status_code in (404, 405)
        return
    if answer.mimetype == "application/problem+json":
        code = (answer.get_json() or {})["type"].removeprefix(problems.TYPE)
        if code not in ANYWHERE:
            documented = operation["responses"].get(str(answer.status_code), {"description": "nothing"})["description"]
            assert code in documented.split(", "), f"{operation['operationId']} says {documented} and not {code}"
        _hold_schema(operation["responses"]["default"], answer)
        return
    assert str(answer.status_code) in operation["responses"], f"{operation['operationId']}: {answer.status_code}"
    _hold_schema(operation["responses"][str(answer.status_code)], answer)


def _operation(app: Flask, function: str, method: str, path: str) -> dict[str, Any] | None:
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method)
    except HTTPException:
        return None
    [route] = [route for route in openapi.FUNCTIONS[function] if route.endpoint == endpoint]
    return dict(openapi.document()["paths"][openapi.path_of(function, route)][method.lower()])


def _hold_schema(response: dict[str, Any], answer: TestResponse) -> None:
    if "content" not in response:
        assert answer.data == b""
        return
    assert answer.mimetype in response["content"]
    if (answer.mimetype or "").endswith("json"):
        schema = response["content"][answer.mimetype]["schema"]
        whole = {**schema, "components": openapi.document()["components"]}
        Draft202012Validator(whole).validate(answer.json)
