from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from functions.adapters.tokens import TokenVerifier
from functions.adapters.webhooks import WebhookVerifier
from functions.domain.account.model import AdminClaim
from functions.lifecycle.account.admission import AccountRates
from functions.web import console, digitalocean_options, enrolment, instances, openapi, toolboxes, webhooks, workers
from functions.web.requests import Callers
from tests.fakes.fleet import FleetCertificates
from tests.fakes.issuer import Issuer
from tests.fakes.world import ACCOUNT, World
from tests.web import described

ADMIN_CLAIM = AdminClaim("app_metadata.role", "admin")
WEBHOOK_SECRETS = ("whsec_" + b64encode(b"a" * 32).decode(), "whsec_" + b64encode(b"b" * 32).decode())
SERVICE, SERVICE_AUDIENCE = "pubsub@project.iam.gserviceaccount.com", "toolboxes-services"


SHIM_IMAGE = f"registry.test/toolboxes-shim@sha256:{'0' * 64}"
CONTROL_KEYS = {"0123456789abcdef": "key"}


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


@pytest.fixture
def world() -> World:
    made = World()
    made.add_toolbox()
    return made


class Answer(TestResponse):
    """An answer whose JSON content is typed as Any: a test that reads it knows what it expects there."""

    @property
    def json(self) -> Any:
        return self.get_json()


class Caller:
    """Calls the functions as an account would, without a server between; `token` None sends none.

    Whatever is answered is held against the document of all routes.
    """

    def __init__(self, apps: dict[str, Flask], token: str | None) -> None:
        self._apps = apps
        self._clients = {name: app.test_client() for name, app in apps.items()}
        self.token = token

    def __call__(self, method: str, function: str, path: str, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        answer = self._clients[function].open(path, method=method, headers=headers, **options)
        described.hold(self._apps[function], function, method, answer)
        return cast(Answer, answer)


@pytest.fixture
def apps(world: World, issuer: Issuer) -> dict[str, Flask]:
    return built(world, issuer)


def built(world: World, issuer: Issuer) -> dict[str, Flask]:
    """Every function on the ports that `world` has now."""
    callers = Callers(TokenVerifier(issuer.settings), ADMIN_CLAIM, AccountRates(world.deps))
    services = TokenVerifier(replace(issuer.settings, audience=SERVICE_AUDIENCE))
    return {
        "toolboxes-user": toolboxes.build(world.deps, callers, openapi.document, b"secret", SHIM_IMAGE),
        "toolbox-tools": instances.build(world.deps, callers, b"secret"),
        "toolbox-dtma-console": console.build(world.deps, callers, b"secret", SHIM_IMAGE),
        "webhooks": webhooks.build(world.deps, WebhookVerifier([*WEBHOOK_SECRETS])),
        "digitalocean-options": digitalocean_options.build(world.deps, world.digitalocean),
        "enrol": enrolment.build_enrol(world.deps, FleetCertificates(), CONTROL_KEYS),
        "notify": enrolment.build_notify(world.deps, FleetCertificates()),
        "converge": workers.build_converge(world.deps, services, SERVICE, None),
        "sweep": workers.build_sweep(world.deps, services, SERVICE),
    }


@pytest.fixture
def call(apps: dict[str, Flask], issuer: Issuer) -> Caller:
    return Caller(apps, issuer.token(ACCOUNT))
