"""Every function called as openapi.json says, and as it says not to, by what knows nothing else of them.

All of schemathesis's checks. Two answers are expected beside its own list: the 408 of a wait in vain, and the 422 of an
Idempotency-Key that came with another request before. What no schema can say of a deploy is left out by `senseless`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from werkzeug.wrappers import Request

from functions.domain.account.model import Limits
from functions.web import app, openapi
from functions.web.pages import Pages
from tests.fakes.droplet import IMAGE
from tests.fakes.issuer import Issuer
from tests.fakes.world import ACCOUNT, TOOLBOX, World
from tests.web.conftest import Caller, built

EXAMPLES = 25
OPERATIONS = [(path, verb) for path, verbs in openapi.document()["paths"].items() for verb in verbs]
CURSOR = Pages(Limits(), b"secret").cursor(datetime(2026, 1, 1, tzinfo=UTC), "1")

# What a pattern cannot say of a value, by the format that the document names.
schemathesis.openapi.format("cursor", st.just(CURSOR))
schemathesis.openapi.format("image", st.sampled_from([IMAGE, "a", "registry.test:5000/a/b@sha256:" + "0" * 64]))
schemathesis.openapi.format("memory", st.sampled_from(["16m", "512M", "1g", "268435456"]))
schemathesis.openapi.format("cpu", st.sampled_from(["0.01", "2", "64"]))


class Gateway:
    """All functions at one address, as the gateway has them."""

    def __init__(self, apps: dict[str, Flask]) -> None:
        self._apps = apps

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        name = environ["PATH_INFO"].split("/")[1]
        return app.serve(self._apps[name], name, Request(environ))(environ, start_response)


def name_what_exists(case: Case[Any]) -> None:
    """At random nothing is ever hit, and a 404 is all that comes of it."""
    named = {"toolboxId": TOOLBOX, "instance": "server", "instanceId": "server"}
    for given_ones in (case.path_parameters, case.body):
        if isinstance(given_ones, dict):
            given_ones.update({key: value for key, value in named.items() if given_ones.get(key)})


def senseless(body: Any) -> bool:
    """One key in two places with two values, or one port or path mapped twice."""
    if not isinstance(body, dict):
        return False
    nested = body.get("baseConfigOverrideJson")
    nested = nested if isinstance(nested, dict) else {}
    if any(nested.get(key) not in (None, body[key]) for key in body if body[key] is not None):
        return True
    lists = [part.get(key) for part in (body, nested) for key in ("portMappings", "volumes")]
    # A generated body that breaks the schema may hold anything in place of a list.
    mapped = [entry for entries in lists if isinstance(entries, list) for entry in entries]
    keys = [
        str(entry.get(key))
        for entry in mapped
        if isinstance(entry, dict)
        for key in ("containerPort", "hostPort", "path")
    ]
    used = [key for key in keys if key not in ("None", "0", "30000")]
    return len(set(used)) < len(used)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.mark.parametrize(("path", "verb"), OPERATIONS, ids=[f"{verb.upper()} {path}" for path, verb in OPERATIONS])
def test_nothing_is_found(issuer: Issuer, path: str, verb: str) -> None:
    world = World()
    world.add_toolbox()
    world.deps = replace(world.deps, limits=Limits(requests_at_once=10**6, requests_a_minute=10**6))
    apps, token = built(world, issuer), issuer.token(ACCOUNT)
    schema = schemathesis.openapi.from_wsgi("/toolboxes-user/openapi.json", Gateway(apps))
    # As the document's own `..` comes out where it lies at /toolboxes-user.
    schema.config.update(base_url="http://localhost/")
    expected = schema.config.checks.positive_data_acceptance
    expected.expected_statuses = [*expected.expected_statuses, "408", "422"]
    operation = schema[path][verb.upper()]
    body = {"instanceNameOnToolbox": "server", "dockerImage": IMAGE}
    assert Caller(apps, token)("POST", "toolbox-tools", f"/{TOOLBOX}/tools", json=body).status_code == 201
    headers = {"Authorization": f"Bearer {token}"}
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @given(st.one_of(modes), st.booleans())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case: Case[Any], known: bool) -> None:
        assume(not senseless(case.body))
        if known and case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
            name_what_exists(case)
        case.call_and_validate(headers=headers)

    hold()
