"""`toolbox-tools` as a WSGI application in the benchmark's process: real tokens and store, simulated droplets."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from werkzeug.test import create_environ

from functions.adapters.tokens import TokenVerifier
from functions.adapters.toolbox_shim import ToolboxShims
from functions.domain.account.model import AdminClaim, Limits
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account.admission import AccountRates
from functions.lifecycle.dependencies import Dependencies, Store
from functions.web import instances
from functions.web.requests import Callers
from tests.fakes.digitalocean import FakeDigitalOcean
from tests.fakes.droplet import FakeDroplet
from tests.fakes.issuer import Issuer
from tests.fakes.stored import DOCUMENTS
from tests.fakes.world import VAULT, ListQueue

# What no account of a benchmark reaches.
LIMITS = Limits(instances=10**6, memory_mib=10**9, requests_at_once=10**6, requests_a_minute=10**6)

Wsgi = Callable[..., Iterable[bytes]]


@dataclass
class Droplets:
    """A simulated droplet for each toolbox; implements toolbox_shim.ShimTransports."""

    _made: dict[str, FakeDroplet] = field(default_factory=dict)

    def for_toolbox(self, toolbox: Toolbox) -> FakeDroplet:
        return self._made.setdefault(toolbox.id, FakeDroplet(now, engine_id=f"engine of {toolbox.id}"))


def toolbox_tools_app(store: Store, issuer: Issuer, droplets: Droplets) -> Flask:
    deps = Dependencies(
        store=store,
        queue=ListQueue(),
        shims=ToolboxShims(droplets),
        droplets=FakeDigitalOcean(now=now),
        now=now,
        new_id=lambda: str(uuid.uuid4()),
        pause=time.sleep,
        draw=random.random,
        vault=VAULT,
        documents=DOCUMENTS,
        limits=LIMITS,
    )
    callers = Callers(TokenVerifier(issuer.settings), AdminClaim("app_metadata.role", "admin"), AccountRates(deps))
    return instances.build(deps, callers, b"fingerprint")


def request(method: str, path: str, token: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The WSGI environment of a request. Each is to be used once."""
    return create_environ(
        path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        content_type=None if body is None else "application/json",
        headers={"Authorization": f"Bearer {token}"},
    )


def call(app: Wsgi, environ: dict[str, Any], expected: int) -> bytes:
    """Send a request, and return the answer's body. Raises RuntimeError where its status is not `expected`."""
    statuses: list[str] = []
    body = b"".join(app(environ, lambda status, headers, *_: statuses.append(status)))
    if not statuses[0].startswith(str(expected)):
        raise RuntimeError(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}: {statuses[0]} {body!r:.300}")
    return body


def now() -> datetime:
    return datetime.now(UTC)
