"""`toolboxes-user/registries`: an account's credentials for private registries; the password goes in and never out."""

from __future__ import annotations

from typing import Annotated

from flask import Flask, Response, jsonify
from pydantic import Field, SecretStr
from typing_extensions import TypedDict

from functions.domain.account.registry import Registry, is_host
from functions.domain.errors import NotAllowedNow, NotFound
from functions.lifecycle.account import registries
from functions.lifecycle.dependencies import Dependencies
from functions.web.callers import Callers
from functions.web.fields import Username
from functions.web.idempotency import request_key
from functions.web.record_types import Time, exact
from functions.web.requests import body
from functions.web.route import Empty, Route


class Credentials(Empty):
    username: Username
    password: Annotated[SecretStr, Field(min_length=1, max_length=16384)]


@exact
class RegistryRecord(TypedDict):
    host: str
    username: str
    created_at: Time
    updated_at: Time


ONE = "/registries/<host>"
LIST = Route("GET", "/registries", "The account's private registries, newest first", {200: list[RegistryRecord]})
GET = Route("GET", ONE, "A private registry", {200: RegistryRecord})
PUT = Route(
    "PUT", ONE, "Keep credentials for a registry", {200: RegistryRecord}, Credentials, problems=(NotAllowedNow,)
)
DELETE = Route("DELETE", ONE, "Forget a registry's credentials", {204: None}, replayed=True)
ROUTES = (LIST, GET, PUT, DELETE)


def add_to(app: Flask, deps: Dependencies, callers: Callers, fingerprint_key: bytes) -> None:
    @LIST.on(app)
    def list_registries() -> Response:
        return jsonify([registry_record(registry) for registry in registries.page(deps, callers())])

    @GET.on(app)
    def get(host: str) -> Response:
        return jsonify(registry_record(registries.get(deps, callers(), registry_host(host))))

    @PUT.on(app)
    def put(host: str) -> Response:
        caller, given = callers(), body(Credentials)
        password = given.password.get_secret_value()
        return jsonify(registry_record(registries.put(deps, caller, registry_host(host), given.username, password)))

    @DELETE.on(app)
    def delete(host: str) -> tuple[str, int]:
        caller = callers()
        request = request_key(caller.account, fingerprint_key)
        registries.delete(deps, caller, registry_host(host), request)
        return "", 204


def registry_host(text: str) -> str:
    """Hosts are the same in any case. What cannot be one has nothing kept for it. Raises NotFound."""
    if not is_host(text.lower()):
        raise NotFound(f"{text[:80]!r} is not a registry's host, like registry.example or registry.example:5000")
    return text.lower()


def registry_record(registry: Registry) -> RegistryRecord:
    return {
        "host": registry.host,
        "username": registry.username,
        "created_at": registry.created_at.isoformat(),
        "updated_at": registry.updated_at.isoformat(),
    }
