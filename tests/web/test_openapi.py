"""openapi.json describes every route of every function, by the types that requests are read with."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator, ValidationError

from functions.web import openapi
from functions.web.openapi import path_of
from functions.web.requests import body
from tests.fakes.droplet import IMAGE
from tests.fakes.world import TOOLBOX, World
from tests.web import described
from tests.web.conftest import Caller

DOCUMENT = openapi.document()
TOOLS = f"/{TOOLBOX}/tools"


def operation(method: str, path: str) -> dict[str, Any]:
    return dict(DOCUMENT["paths"][path][method])


def test_every_route_that_flask_serves_is_described_and_no_other(apps: dict[str, Flask]) -> None:
    served = {(name, rule.endpoint) for name, app in apps.items() for rule in app.url_map.iter_rules()}
    assert served == {(name, route.endpoint) for name, routes in openapi.FUNCTIONS.items() for route in routes}
    for name, routes in openapi.FUNCTIONS.items():
        for route in routes:
            assert operation(route.method.lower(), path_of(name, route))["responses"]


def test_anybody_may_read_the_document(apps: dict[str, Flask]) -> None:
    answer = Caller(apps, None)("GET", "toolboxes-user", "/openapi.json")
    assert (answer.status_code, answer.json) == (200, DOCUMENT)


def test_a_body_is_described_by_the_type_that_reads_it() -> None:
    schema = operation("post", "/toolbox-tools/{toolboxId}/tools")["requestBody"]["content"]["application/json"]
    deploy = DOCUMENT["components"]["schemas"][schema["schema"]["$ref"].rpartition("/")[2]]
    assert deploy["additionalProperties"] is False
    assert {"instanceNameOnToolbox", "dockerImage", "baseConfigOverrideJson", "start"} <= set(deploy["properties"])


def test_a_view_cannot_read_a_body_that_its_route_does_not_describe(apps: dict[str, Flask]) -> None:
    from functions.web.instance_bodies import Deploy, Patch
    from functions.web.instances import DEPLOY

    app = Flask("other")
    DEPLOY.on(app)(lambda toolbox: str(body(Patch)))
    app.testing = True
    with pytest.raises(AssertionError, match="does not describe its body as Patch"):
        app.test_client().post(TOOLS, json={})
    assert DEPLOY.body is Deploy


def test_every_route_but_the_public_ones_names_whose_proof_it_asks_for() -> None:
    public = [path for path, verbs in DOCUMENT["paths"].items() for verb in verbs.values() if verb["security"] == []]
    lists = ["/digitalocean-options/regions", "/digitalocean-options/sizes"]
    # Who enrols proves it within the body.
    assert public == ["/toolboxes-user/openapi.json", *lists, "/enrol"]


@pytest.mark.parametrize("wrong", ["more", "less"])
def test_an_answer_with_a_field_more_or_less_than_described_is_found_by_these_tests(
    world: World, apps: dict[str, Flask], wrong: str, call: Caller
) -> None:
    made = call("POST", "toolbox-tools", TOOLS, json={"instanceNameOnToolbox": "server", "dockerImage": IMAGE}).json
    record = {**made, "surprise": 1} if wrong == "more" else {key: made[key] for key in list(made)[:-1]}
    app = apps["toolbox-tools"]
    app.view_functions["GET /<toolbox>/tools/<instance>"] = lambda toolbox, instance: record
    answer = app.test_client().get(f"{TOOLS}/server")
    with pytest.raises(ValidationError):
        described.hold(app, "toolbox-tools", "GET", answer)


OPERATIONS = [(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs]
SCHEMAS = DOCUMENT["components"]["schemas"]


@pytest.mark.parametrize(("path", "verb"), OPERATIONS)
def test_an_operation_has_an_id_a_tag_an_imperative_summary_and_a_description(path: str, verb: str) -> None:
    described_operation = operation(verb, path)
    assert re.fullmatch("[a-z][A-Za-z]+", described_operation["operationId"])
    assert described_operation["tags"][0] in [tag["name"] for tag in DOCUMENT["tags"]]
    assert re.fullmatch(r"[A-Z][a-z]+( [^.]+)?", described_operation["summary"])
    assert described_operation["description"].endswith(".")


def test_operation_ids_are_unique() -> None:
    ids = [operation(verb, path)["operationId"] for path, verb in OPERATIONS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", [name for name, schema in SCHEMAS.items() if "properties" in schema])
def test_every_field_has_a_description(name: str) -> None:
    assert [key for key, schema in SCHEMAS[name]["properties"].items() if not schema.get("description")] == []


@pytest.mark.parametrize(("path", "verb"), OPERATIONS)
def test_an_operations_examples_are_valid(path: str, verb: str) -> None:
    described_operation = operation(verb, path)
    successes = [answer for status, answer in described_operation["responses"].items() if status.startswith("2")]
    contents = [answer.get("content", {}) for answer in [described_operation.get("requestBody", {}), *successes]]
    media = [content[kind] for content in contents for kind in content if kind == "application/json"]
    for body_or_answer in media:
        schema = {**body_or_answer["schema"], "components": DOCUMENT["components"]}
        if path != "/toolboxes-user/openapi.json":
            Draft202012Validator(schema).validate(body_or_answer["example"])
    assert media or described_operation["responses"].keys() & {"204"}
