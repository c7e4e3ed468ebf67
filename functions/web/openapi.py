"""The routes of every function as one OpenAPI document: https://spec.openapis.org/oas/v3.1.1.html

Its schemas are those of the models that read requests and make answers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from functions.web import console, digitalocean_options, enrolment, instances, toolboxes, webhooks, workers
from functions.web.examples import example_of
from functions.web.problems import ProblemDocument, status_of
from functions.web.requests import PATH_PARAMETERS
from functions.web.route import Answer, Media, Proof, Route

FUNCTIONS: dict[str, tuple[Route, ...]] = {
    toolboxes.NAME: toolboxes.ROUTES,
    instances.NAME: instances.ROUTES,
    console.NAME: console.ROUTES,
    webhooks.NAME: webhooks.ROUTES,
    digitalocean_options.NAME: digitalocean_options.ROUTES,
    "enrol": (enrolment.ENROL,),
    "notify": (enrolment.NOTIFY,),
    "converge": (workers.CONVERGE,),
    "sweep": (workers.SWEEP,),
}
TAGS = {
    toolboxes.NAME: "An account's toolboxes and private registries; for operators also rollouts and orphan droplets.",
    instances.NAME: "The instances of a toolbox, their containers and their history.",
    console.NAME: "The existing frontend's view of a toolbox's shim.",
    webhooks.NAME: "Messages of the backend about its accounts.",
    digitalocean_options.NAME: "In which regions and sizes droplets can be created.",
    "enrol": "Called by shims.",
    "notify": "Called by shims.",
    "converge": "Called by Pub/Sub.",
    "sweep": "Called by the scheduler.",
}

# How a model looks where it is read, and where it is written.
REQUEST: JsonSchemaMode = "validation"
ANSWER: JsonSchemaMode = "serialization"
TEMPLATE = "#/components/schemas/{model}"
_TOKEN = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
SECURITY: dict[Proof, dict[str, str]] = {
    Proof.ACCOUNT: {**_TOKEN, "description": "The caller's token. Its `sub` is the account."},
    Proof.PLATFORM: {**_TOKEN, "description": "An identity token of the configured service account."},
    Proof.SHIM: {**_TOKEN, "description": "A JWT that a toolbox's own key has signed."},
    Proof.BACKEND: {
        "type": "apiKey",
        "in": "header",
        "name": "webhook-signature",
        "description": "Standard Webhooks: a signature over webhook-id, webhook-timestamp and the body.",
    },
}
_HEADERS = {
    "Link": {"description": "URL of the next page (RFC 8288), where there is one.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "Any text of the client's choice. Within a day a repeat with the same key and body gets the first answer, and "
        "nothing is done twice; with another body it is refused."
    ),
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
    "example": "2f0c7a1e-deploy",
}

Schemas = Mapping[Any, dict[str, Any]]


@cache
def document() -> dict[str, Any]:
    """The document of all functions. Its server URL is the path before the functions' names."""
    return _document(FUNCTIONS)


def path_of(function: str, route: Route) -> str:
    """The route's path in the document."""
    below = re.sub(r"<(\w+)>", lambda match: "{" + PATH_PARAMETERS[match[1]].name + "}", route.path)
    return f"/{function}{'' if below == '/' else below}"


def _document(functions: Mapping[str, Sequence[Route]]) -> dict[str, Any]:
    schemas, definitions = _schemas([route for routes in functions.values() for route in routes])
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, routes in functions.items():
        for route in routes:
            paths[path_of(name, route)][route.method.lower()] = _operation(name, route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Toolboxes", "version": "1", "description": "Docker containers on users' own droplets."},
        "servers": [{"url": ".."}],
        "tags": [{"name": name, "description": TAGS[name]} for name in functions],
        "paths": dict(paths),
        "components": {
            "schemas": definitions,
            "securitySchemes": {proof.value: scheme for proof, scheme in SECURITY.items()},
        },
    }


def _types(routes: Sequence[Route]) -> Iterator[tuple[Any, JsonSchemaMode]]:
    yield ProblemDocument, ANSWER
    yield from ((parameter.kind, REQUEST) for parameter in PATH_PARAMETERS.values())
    for route in routes:
        yield from ((kind, REQUEST) for kind in (route.body, route.query) if kind)
        for kind in (kind for answer in route.answers.values() for kind in _kinds(answer)):
            yield (kind.kind if isinstance(kind, Media) else kind), ANSWER


def _schemas(routes: Sequence[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """The schema of each type, and the definitions that the schemas refer to."""
    kinds = list(dict.fromkeys(_types(routes)))
    adapters = [(str(index), mode, TypeAdapter(kind)) for index, (kind, mode) in enumerate(kinds)]
    made, shared = TypeAdapter.json_schemas(adapters, ref_template=TEMPLATE)
    return {kind: made[str(index), mode] for index, (kind, mode) in enumerate(kinds)}, shared["$defs"]


def _operation(name: str, route: Route, schemas: Schemas) -> dict[str, Any]:
    parameters = [*_path_parameters(route, schemas), *_query_parameters(route)]
    parameters += [_IDEMPOTENCY_KEY] if route.idempotent else []
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "tags": [name],
        "summary": route.summary,
        "description": route.description,
    }
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        content = {"application/json": {"schema": schemas[route.body], **example_of(route.body)}}
        # An empty body is `{}`, so it is required only where a key is.
        required = any(field.is_required() for field in route.body.model_fields.values())
        operation["requestBody"] = {"required": required, "content": content}
    operation["responses"] = _responses(route, schemas)
    operation["security"] = [] if route.proof is Proof.ANYBODY else [{route.proof.value: []}]
    return operation


def _path_parameters(route: Route, schemas: Schemas) -> Iterator[dict[str, Any]]:
    for parameter in (PATH_PARAMETERS[name] for name in re.findall(r"<(\w+)>", route.path)):
        yield {
            "name": parameter.name,
            "in": "path",
            "required": True,
            "description": parameter.description,
            "schema": schemas[parameter.kind],
            "example": parameter.example,
        }


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    adapted = TypeAdapter(route.query).json_schema(ref_template=TEMPLATE)
    required = adapted.get("required", [])
    for name, schema in adapted["properties"].items():
        description = {"description": schema["description"]} if "description" in schema else {}
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            **description,
            "schema": _without_null(schema),
        }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query string has no null: an optional key is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return kinds[0] if len(kinds) == 1 else schema


def _responses(route: Route, schemas: Schemas) -> dict[str, Any]:
    responses = {str(status): _response(status, route, schemas) for status in sorted(route.answers)}
    codes: dict[int, list[str]] = defaultdict(list)
    for problem in route.all_problems():
        codes[status_of(problem)].append(problem.code)
    content = {"application/problem+json": {"schema": schemas[ProblemDocument], **example_of(ProblemDocument)}}
    for status, those in sorted(codes.items()):
        response = {"description": ", ".join(sorted(set(those))), "content": content}
        retry = {"headers": {"Retry-After": _HEADERS["Retry-After"]}} if status in (429, 503) else {}
        # A status can belong to an answer and to a problem: a wait that times out is a 408 with the record.
        responses.setdefault(str(status), {**response, **retry})
    return {**responses, "default": {"description": "A problem document.", "content": content}}


def _kinds(answer: Answer) -> tuple[Any, ...]:
    if answer is None:
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


_STATUS_DESCRIPTIONS = {
    200: "Done.",
    201: "Created.",
    202: "Under way.",
    204: "Done, without content.",
    408: "Not reached in time; the record as it stands.",
}


def _response(status: int, route: Route, schemas: Schemas) -> dict[str, Any]:
    kinds = _kinds(route.answers[status])
    content: dict[str, Any] = {
        kind.type: {"schema": schemas[kind.kind], **example_of(kind.kind)} for kind in kinds if isinstance(kind, Media)
    }
    records = [kind for kind in kinds if not isinstance(kind, Media)]
    if records:
        made = [schemas[kind] for kind in records]
        schema = made[0] if len(made) == 1 else {"anyOf": made}
        content["application/json"] = {"schema": schema, **example_of(records[0])}
    headers = {name: _HEADERS[name] for name in route.headers}
    return {
        "description": _STATUS_DESCRIPTIONS[status],
        **({"content": content} if content else {}),
        **({"headers": headers} if headers else {}),
    }
