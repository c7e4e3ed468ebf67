"""Entry points, one for each deployed function. Each wires its adapters to the lifecycle once, on first use.

functions-framework loads this file as module `main` and appends its folder, not the repository's root, to
`sys.path`; the root goes first here, so that `functions.domain.errors` is one module and its classes are one.

All functions are deployed with this file, and each serves one of them: what only some need is imported where it is
needed, so that a cold start loads neither the other functions' routes nor a client that is not used. The settings are
read at once.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import functions_framework
from flask import Flask, Request
from werkzeug.wrappers import Response

from functions.adapters import settings
from functions.web import app

if TYPE_CHECKING:
    from functions.adapters.digitalocean import DigitalOcean
    from functions.adapters.tokens import TokenVerifier
    from functions.adapters.webhooks import WebhookSender
    from functions.lifecycle.dependencies import Dependencies, Droplets, Queue, Shims, Store, Vault
    from functions.web.requests import Callers

app.install_logging()
# Read at start-up, so that a missing setting stops the function there and not at its first request.
SETTINGS = settings.read(os.environ)
# Two requests may be the first at the same time.
_building = threading.Lock()


class OnFirstUse:
    """Stands for what `make` makes, which is made once, when the first of its methods is called.

    A read needs neither the clients nor their libraries, which take longer to import than the read itself takes.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return getattr(self._made, name)


@cache
def _dependencies() -> Dependencies:
    """Built on first use, after the server has forked: a gRPC client does not survive a fork."""
    from functions.adapters.documents.codec import DocumentCodec
    from functions.adapters.threads import concurrently
    from functions.lifecycle.dependencies import Dependencies

    return Dependencies(
        store=_store(),
        queue=_queue(),
        shims=OnFirstUse(_shims),
        droplets=OnFirstUse(_droplets),
        now=lambda: datetime.now(UTC),
        new_id=lambda: str(uuid.uuid4()),
        pause=time.sleep,
        draw=random.random,
        vault=OnFirstUse(_vault),
        documents=DocumentCodec(),
        limits=SETTINGS.limits,
        concurrently=concurrently,
        sends_webhooks=SETTINGS.webhook_target is not None,
    )


def _store() -> Store:
    store: Store
    if SETTINGS.store.kind == "sqlite":
        from functions.adapters.store_sqlite import SqliteStore

        store = SqliteStore(SETTINGS.store.name)
    else:
        from functions.adapters.store_firestore import FirestoreStore

        store = FirestoreStore(SETTINGS.project)
    if SETTINGS.webhook_target is None:
        return store
    from functions.lifecycle.outbox import OutboxStore

    return OutboxStore(store)


def _queue() -> Queue:
    if SETTINGS.queue.kind == "sqlite":
        from functions.adapters.queue_sqlite import SqliteQueue

        return SqliteQueue(SETTINGS.queue.name)
    from functions.adapters.queue_pubsub import PubsubQueue

    return PubsubQueue(SETTINGS.project, SETTINGS.queue.name)


def _shims() -> Shims:
    from functions.adapters.shim import NoShims, ShimClients
    from functions.adapters.toolbox_shim import ToolboxShims

    return ToolboxShims(ShimClients(SETTINGS.command_key) if SETTINGS.command_key else NoShims())


def _droplets() -> Droplets:
    if SETTINGS.digitalocean:
        return _digitalocean()
    from functions.adapters.digitalocean import NoDroplets

    return NoDroplets()


@cache
def _digitalocean() -> DigitalOcean:
    from functions.adapters.digitalocean import DigitalOcean

    assert SETTINGS.digitalocean is not None
    return DigitalOcean(SETTINGS.digitalocean, SETTINGS.provisioning)


def _vault() -> Vault:
    from functions.adapters.vault import KeyVault, NoVault

    return KeyVault(SETTINGS.secret_keys) if SETTINGS.secret_keys else NoVault()


def _callers() -> Callers:
    from functions.adapters.tokens import TokenVerifier
    from functions.lifecycle.account.admission import AccountRates
    from functions.web.requests import Callers

    assert SETTINGS.callers is not None and SETTINGS.admin is not None
    return Callers(TokenVerifier(SETTINGS.callers), SETTINGS.admin, AccountRates(_dependencies()))


def _services() -> TokenVerifier:
    from functions.adapters.tokens import TokenVerifier

    assert SETTINGS.services is not None
    return TokenVerifier(SETTINGS.services)


def _sender() -> WebhookSender | None:
    target = SETTINGS.webhook_target
    if target is None:
        return None
    from functions.adapters.webhooks import WebhookSender

    return WebhookSender(target.url, target.secrets)


def _build_toolboxes_user() -> Flask:
    from functions.web import toolboxes

    return toolboxes.build(_dependencies(), _callers(), _openapi, SETTINGS.fingerprint_key, SETTINGS.shim_image)


def _openapi() -> dict[str, object]:
    from functions.web import openapi

    return openapi.document()


def _build_toolbox_tools() -> Flask:
    from functions.web import instances

    return instances.build(_dependencies(), _callers(), SETTINGS.fingerprint_key)


def _build_toolbox_dtma_console() -> Flask:
    from functions.web import console

    return console.build(_dependencies(), _callers(), SETTINGS.fingerprint_key, SETTINGS.shim_image)


def _build_webhooks() -> Flask:
    from functions.adapters.webhooks import WebhookVerifier
    from functions.web import webhooks

    return webhooks.build(_dependencies(), WebhookVerifier(SETTINGS.webhook_secrets))


def _build_converge() -> Flask:
    from functions.web import workers

    return workers.build_converge(_dependencies(), _services(), SETTINGS.service_email, _sender())


def _build_sweep() -> Flask:
    from functions.web import workers

    return workers.build_sweep(_dependencies(), _services(), SETTINGS.service_email)


def _build_enrol() -> Flask:
    from functions.adapters.certificates import ShimCertificates
    from functions.web import enrolment

    return enrolment.build_enrol(_dependencies(), ShimCertificates(), SETTINGS.control_keys)


def _build_notify() -> Flask:
    from functions.adapters.certificates import ShimCertificates
    from functions.web import enrolment

    return enrolment.build_notify(_dependencies(), ShimCertificates())


def _build_digitalocean_options() -> Flask:
    from functions.web import digitalocean_options

    return digitalocean_options.build(_dependencies(), _digitalocean())


BUILDERS: dict[str, Callable[[], Flask]] = {
    "toolboxes-user": _build_toolboxes_user,
    "toolbox-tools": _build_toolbox_tools,
    "toolbox-dtma-console": _build_toolbox_dtma_console,
    "webhooks": _build_webhooks,
    "converge": _build_converge,
    "sweep": _build_sweep,
    "enrol": _build_enrol,
    "notify": _build_notify,
    "digitalocean-options": _build_digitalocean_options,
}


def _app(name: str) -> Flask:
    with _building:
        return _built(name)


@cache
def _built(name: str) -> Flask:
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
