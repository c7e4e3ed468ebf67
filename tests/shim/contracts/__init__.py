"""The contract as data: a description of the present version, and the recorded versions in this folder."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Annotated, Any

from shim.contract import errors, messages, routes, wire


def recorded(version: int) -> dict[str, Any]:
    return dict(json.loads((Path(__file__).parent / f"version_{version}.json").read_text()))


def described() -> dict[str, Any]:
    """The present contract: routes, messages with their fields, defaults and bounds, and errors."""
    kinds: dict[str, Any] = {}
    for route in routes.ROUTES:
        _describe(route.body, kinds)
        _describe(route.answer, kinds)
    return {
        "contract": routes.CONTRACT,
        "max_body_bytes": routes.MAX_BODY_BYTES,
        "max_relay_body_bytes": routes.MAX_RELAY_BODY_BYTES,
        "relay": {
            "methods": list(routes.RELAY_METHODS),
            "request_headers": routes.RELAY_REQUEST_HEADER.pattern,
            "response_headers": routes.RELAY_RESPONSE_HEADER.pattern,
            "path": routes.RELAY_PATH.pattern,
        },
        "routes": [
            {
                "method": route.method,
                "path": route.path,
                "query": list(route.query),
                "body": route.body.__name__,
                "answer": route.answer.__name__,
            }
            for route in routes.ROUTES
        ],
        "messages": dict(sorted(kinds.items())),
        "errors": {code: error.status for code, error in sorted(errors.ERRORS.items())},
    }


def _describe(kind: Any, kinds: dict[str, Any]) -> None:
    if kind.__name__ in kinds:
        return
    fields = kinds[kind.__name__] = dict[str, Any]()
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        fields[field.name] = {"type": _type(hints[field.name], kinds)}
        if field.default is not dataclasses.MISSING:
            fields[field.name]["default"] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            fields[field.name]["default"] = field.default_factory()


def _type(hint: Any, kinds: dict[str, Any]) -> str:
    bounds = ""
    if typing.get_origin(hint) is Annotated:
        hint, *annotated = typing.get_args(hint)
        bounds = "".join(f" {_bound(bound)}" for bound in annotated)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return f"{_type(arguments[0], kinds)}{bounds} | null"
    if origin is list:
        return f"[{_type(arguments[0], kinds)}]{bounds}"
    if origin is dict:
        return f"{{{_type(arguments[0], kinds)}: {_type(arguments[1], kinds)}}}{bounds}"
    if isinstance(hint, type) and issubclass(hint, messages.Message):
        _describe(hint, kinds)
        return hint.__name__
    return {str: "string", int: "integer", float: "number", bool: "boolean"}[hint] + bounds


def _bound(bound: Any) -> str:
    if isinstance(bound, wire.Within):
        return f"{bound.steps.start}..{bound.steps.stop - 1}"
    if isinstance(bound, wire.AtMost):
        return f"<={bound.length}"
    if isinstance(bound, wire.Matching):
        return f"/{bound.pattern.pattern}/"
    return "|".join(bound.values)
