"""Routes as one OpenAPI document: https://spec.openapis.org/oas/v3.1.1.html

The schemas are those of the very types that read requests and that answers are made of.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter

from functions.web.problems import ProblemDocument, status_of
from functions.web.requests import PATH_PARAMETERS
from functions.web.route import Answer, Media, Proof, Route

Schemas = Mapping[Any, dict[str, Any]]

READ: Literal["validation"] = "validation"
TEMPLATE = "#/components/schemas/{model}"
_TOKEN = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
SECURITY: dict[Proof, dict[str, str]] = {
    Proof.ACCOUNT: {**_TOKEN, "description": "the caller's token; its `sub` is the account"},
    Proof.PLATFORM: {**_TOKEN, "description": "the identity token of the configured service account"},
    Proof.SHIM: {**_TOKEN, "description": "signed by a toolbox's own key"},
    Proof.BACKEND: {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks: signs webhook-id, webhook-timestamp and the body",
    },
}
_HEADERS = {
    "Link": {"description": "the next page (RFC 8288), where there is one", "schema": {"type": "string"}},
    "Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 0}},
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a repeat with the same key and body is answered again and not done again",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
}


def document(functions: Mapping[str, Sequence[Route]]) -> dict[str, Any]:
    """One document of every function's routes. Its server is the folder that the functions' names stand in."""
    schemas, definitions = _schemas([route for routes in functions.values() for route in routes])
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, routes in functions.items():
        for route in routes:
            paths[path_of(name, route)][route.method.lower()] = _operation(name, route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Toolboxes", "version": "1", "description": "Containers on users' droplets."},
        "servers": [{"url": ".."}],
        "paths": dict(paths),
        "components": {
            "schemas": definitions,
            "securitySchemes": {proof.value: scheme for proof, scheme in SECURITY.items()},
        },
    }


def _types(routes: Sequence[Route]) -> Iterator[Any]:
    yield ProblemDocument
    yield from (parameter.kind for parameter in PATH_PARAMETERS.values())
    for route in routes:
        yield from (kind for kind in (route.body, route.query) if kind)
        for kind in (kind for answer in route.answers.values() for kind in _kinds(answer)):
            yield kind.kind if isinstance(kind, Media) else kind


def _schemas(routes: Sequence[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Each type's schema, and the definitions that they refer to."""
    kinds = list(dict.fromkeys(_types(routes)))
    adapters = [(str(index), READ, TypeAdapter(kind)) for index, kind in enumerate(kinds)]
    made, shared = TypeAdapter.json_schemas(adapters, ref_template=TEMPLATE)
    return {kind: made[str(index), READ] for index, kind in enumerate(kinds)}, shared["$defs"]


def path_of(function: str, route: Route) -> str:
    """The route's path in the document."""
    below = re.sub(r"<(\w+)>", lambda match: "{" + PATH_PARAMETERS[match[1]].name + "}", route.path)
    return f"/{function}{'' if below == '/' else below}"


def _operation(name: str, route: Route, schemas: Schemas) -> dict[str, Any]:
    parameters = [*_path_parameters(route, schemas), *_query_parameters(route, schemas)]
    parameters += [_IDEMPOTENCY_KEY] if route.replayed else []
    words = re.findall(r"\w+", f"{name} {route.method} {route.path}")
    operation: dict[str, Any] = {"operationId": "-".join(words).lower(), "tags": [name], "summary": route.summary}
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        content = {"application/json": {"schema": schemas[route.body]}}
        # An empty body is `{}`.
        required = any(field.is_required() for field in route.body.model_fields.values())
        operation["requestBody"] = {"required": required, "content": content}
    operation["responses"] = _responses(route, schemas)
    operation["security"] = [] if route.proof is Proof.ANYBODY else [{route.proof.value: []}]
    return operation


def _path_parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for parameter in (PATH_PARAMETERS[name] for name in re.findall(r"<(\w+)>", route.path)):
        yield {"name": parameter.name, "in": "path", "required": True, "schema": schemas[parameter.kind]}


def _query_parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    adapted = TypeAdapter(route.query).json_schema(ref_template=TEMPLATE)
    required = adapted.get("required", [])
    for name, schema in adapted["properties"].items():
        yield {"name": name, "in": "query", "required": name in required, "schema": _sendable(schema)}


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: what may be left out is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    responses = {str(status): _answer(kind, route, schemas) for status, kind in sorted(route.answers.items())}
    codes: dict[int, list[str]] = defaultdict(list)
    for problem in route.all_problems():
        codes[status_of(problem)].append(problem.code)
    content = {"application/problem+json": {"schema": schemas[ProblemDocument]}}
    for status, those in sorted(codes.items()):
        told = {"description": ", ".join(sorted(set(those))), "content": content}
        retry = {"headers": {"Retry-After": _HEADERS["Retry-After"]}} if status in (429, 503) else {}
        # A status may be an answer and a problem: a wait in vain has the record.
        responses.setdefault(str(status), {**told, **retry})
    return {**responses, "default": {"description": "a problem document", "content": content}}


def _kinds(answer: Answer) -> tuple[Any, ...]:
    if answer is None:
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _answer(answer: Answer, route: Route, schemas: Schemas) -> dict[str, Any]:
    kinds = _kinds(answer)
    content: dict[str, Any] = {kind.type: {"schema": schemas[kind.kind]} for kind in kinds if isinstance(kind, Media)}
    if records := [schemas[kind] for kind in kinds if not isinstance(kind, Media)]:
        content["application/json"] = {"schema": records[0] if len(records) == 1 else {"anyOf": records}}
    headers = {name: _HEADERS[name] for name in route.headers}
    return {
        "description": route.summary,
        **({"content": content} if content else {}),
        **({"headers": headers} if headers else {}),
    }
