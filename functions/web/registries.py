"""An account's credentials for private registries. Part of `toolboxes-user`. A password is stored and never shown."""

from __future__ import annotations

from typing import Annotated

from flask import Flask, Response
from pydantic import Field, SecretStr

from functions.domain.account.model import is_host
from functions.domain.errors import NotAllowedNow, NotFound
from functions.lifecycle.account import registries
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import StoredAnswer
from functions.web.fields import Username
from functions.web.idempotency import Idempotent
from functions.web.records import Record, Time, answer, answer_list
from functions.web.requests import Callers, body
from functions.web.route import Body, Route


class Credentials(Body):
    username: Username = Field(description="User name at the registry: visible ASCII without a colon.")
    password: Annotated[SecretStr, Field(min_length=1, max_length=16384)] = Field(
        description="Password or access token. It is stored encrypted and never shown."
    )


class RegistryRecord(Record):
    host: str = Field(description="The registry's host as in image references, with its port.")
    username: str = Field(description="User name at the registry.")
    created_at: Time = Field(description="When credentials were first stored.")
    updated_at: Time = Field(description="When they were last replaced.")


REGISTRY_PATH = "/registries/<host>"
LIST = Route(
    operation="listRegistries",
    method="GET",
    path="/registries",
    summary="List private registries",
    description="All of the account's, newest first.",
    answers={200: list[RegistryRecord]},
)
GET = Route(
    operation="getRegistry",
    method="GET",
    path=REGISTRY_PATH,
    summary="Get a private registry",
    description="Without its password.",
    answers={200: RegistryRecord},
)
PUT = Route(
    operation="putRegistry",
    method="PUT",
    path=REGISTRY_PATH,
    summary="Store credentials for a registry",
    description="The account's images on that host are pulled with them. They replace any before.",
    answers={200: RegistryRecord},
    body=Credentials,
    problems=(NotAllowedNow,),
)
DELETE = Route(
    operation="deleteRegistry",
    method="DELETE",
    path=REGISTRY_PATH,
    summary="Delete a registry's credentials",
    description="Also succeeds where none are stored.",
    answers={204: None},
    idempotent=True,
)
ROUTES = (LIST, GET, PUT, DELETE)


def add_to(app: Flask, deps: Dependencies, callers: Callers, idempotent: Idempotent) -> None:
    """Add these routes to the function's app."""

    @LIST.on(app)
    def list_registries() -> Response:
        return answer_list(RegistryRecord, registries.page(deps, callers()))

    @GET.on(app)
    def get_registry(host: str) -> Response:
        return answer(RegistryRecord.model_validate(registries.get(deps, callers(), registry_host(host))))

    @PUT.on(app)
    def put_registry(host: str) -> Response:
        caller, credentials = callers(), body(Credentials)
        password = credentials.password.get_secret_value()
        stored = registries.put(deps, caller, registry_host(host), credentials.username, password)
        return answer(RegistryRecord.model_validate(stored))

    @DELETE.on(app)
    def delete_registry(host: str) -> Response:
        caller, name = callers(), registry_host(host)
        return idempotent(
            caller,
            lambda commit: registries.delete(deps, caller, name, commit),
            lambda _about, _commit: None,
            lambda _: StoredAnswer(204, {}),
        )


def registry_host(text: str) -> str:
    """The host in lower case, since hosts are the same in any case. Raises NotFound where it cannot be one."""
    if not is_host(text.lower()):
        raise NotFound(f"{text[:80]!r} is not a registry's host like registry.example or registry.example:5000.")
    return text.lower()
