"""Entry points, one for each deployed function. Each wires its adapters to the lifecycle once, on first use.

functions-framework loads this file as module `main` and appends its folder, not the repository's root, to
`sys.path`; the root goes first here, so that `functions.domain.errors` is one module and its classes are one.
"""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import functions_framework
from flask import Flask, Request
from werkzeug.wrappers import Response

from functions.adapters import settings
from functions.adapters.certificates import ShimCertificates
from functions.adapters.digitalocean import DigitalOcean, NoDroplets
from functions.adapters.documents.codec import DocumentCodec
from functions.adapters.queue_pubsub import PubsubQueue
from functions.adapters.queue_sqlite import SqliteQueue
from functions.adapters.shim import NoShims, ShimClients
from functions.adapters.store_firestore import FirestoreStore
from functions.adapters.store_sqlite import SqliteStore
from functions.adapters.tokens import TokenVerifier
from functions.adapters.toolbox_shim import ToolboxShims
from functions.adapters.vault import KeyVault, NoVault
from functions.adapters.webhooks import WebhookSender, WebhookVerifier
from functions.lifecycle.account.rates import AccountRates
from functions.lifecycle.dependencies import Dependencies, Store
from functions.lifecycle.outbox import OutboxStore
from functions.web import app, console, enrolment, instances, openapi, toolboxes, workers
from functions.web import digitalocean_options as options
from functions.web import webhooks as inbound
from functions.web.authentication import Callers

app.install_logging()
# Read at start-up, so that a missing setting stops the function there and not at its first request.
SETTINGS = settings.read(os.environ)


@cache
def _digitalocean() -> DigitalOcean:
    assert SETTINGS.digitalocean is not None
    return DigitalOcean(SETTINGS.digitalocean, SETTINGS.provisioning)


@cache
def _dependencies() -> Dependencies:
    """Built on first use, after the server has forked: a gRPC client does not survive a fork."""
    backend, queue, sends_webhooks = SETTINGS.store, SETTINGS.queue, SETTINGS.webhook_target is not None
    store: Store = SqliteStore(backend.name) if backend.kind == "sqlite" else FirestoreStore(SETTINGS.project)
    return Dependencies(
        store=OutboxStore(store) if sends_webhooks else store,
        queue=SqliteQueue(queue.name) if queue.kind == "sqlite" else PubsubQueue(SETTINGS.project, queue.name),
        shims=ToolboxShims(ShimClients(SETTINGS.command_key) if SETTINGS.command_key else NoShims()),
        droplets=_digitalocean() if SETTINGS.digitalocean else NoDroplets(),
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid.uuid4()),
        pause=time.sleep,
        draw=random.random,
        vault=KeyVault(SETTINGS.secret_keys) if SETTINGS.secret_keys else NoVault(),
        documents=DocumentCodec(),
        limits=SETTINGS.limits,
        sends_webhooks=sends_webhooks,
    )


def _callers() -> Callers:
    assert SETTINGS.callers is not None and SETTINGS.admin is not None
    return Callers(TokenVerifier(SETTINGS.callers), SETTINGS.admin, AccountRates(_dependencies()))


def _services() -> TokenVerifier:
    assert SETTINGS.services is not None
    return TokenVerifier(SETTINGS.services)


def _sender() -> WebhookSender | None:
    target = SETTINGS.webhook_target
    return WebhookSender(target.url, target.secrets) if target else None


BUILDERS: dict[str, Callable[[], Flask]] = {
    "toolboxes-user": lambda: toolboxes.build(
        _dependencies(), _callers(), openapi.document, SETTINGS.fingerprint_key, SETTINGS.shim_image
    ),
    "toolbox-tools": lambda: instances.build(_dependencies(), _callers(), SETTINGS.fingerprint_key),
    "toolbox-dtma-console": lambda: console.build(
        _dependencies(), _callers(), SETTINGS.fingerprint_key, SETTINGS.shim_image
    ),
    "webhooks": lambda: inbound.build(_dependencies(), WebhookVerifier(SETTINGS.webhook_secrets)),
    "converge": lambda: workers.build_converge(_dependencies(), _services(), SETTINGS.service_email, _sender()),
    "sweep": lambda: workers.build_sweep(_dependencies(), _services(), SETTINGS.service_email),
    "enrol": lambda: enrolment.build_enrol(_dependencies(), ShimCertificates(), SETTINGS.control_keys),
    "notify": lambda: enrolment.build_notify(_dependencies(), ShimCertificates()),
    "digitalocean-options": lambda: options.build(_dependencies(), _digitalocean()),
}


@cache
def _app(name: str) -> Flask:
    return BUILDERS[name]()


@functions_framework.http
def toolboxes_user(request: Request) -> Response:
    return app.serve(_app("toolboxes-user"), "toolboxes-user", request)


@functions_framework.http
def toolbox_tools(request: Request) -> Response:
    return app.serve(_app("toolbox-tools"), "toolbox-tools", request)


@functions_framework.http
def toolbox_dtma_console(request: Request) -> Response:
    return app.serve(_app("toolbox-dtma-console"), "toolbox-dtma-console", request)


@functions_framework.http
def webhooks(request: Request) -> Response:
    return app.serve(_app("webhooks"), "webhooks", request)


@functions_framework.http
def converge(request: Request) -> Response:
    return app.serve(_app("converge"), "converge", request)


@functions_framework.http
def sweep(request: Request) -> Response:
    return app.serve(_app("sweep"), "sweep", request)


@functions_framework.http
def enrol(request: Request) -> Response:
    return app.serve(_app("enrol"), "enrol", request)


@functions_framework.http
def notify(request: Request) -> Response:
    return app.serve(_app("notify"), "notify", request)


@functions_framework.http
def digitalocean_options(request: Request) -> Response:
    return app.serve(_app("digitalocean-options"), "digitalocean-options", request)
