"""`webhooks`: what the backend says of its accounts, signed as Standard Webhooks are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Literal

from flask import Flask, request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, RootModel

from functions.domain import errors
from functions.domain.account.caller import valid_account
from functions.domain.account.model import AccountStatus
from functions.domain.errors import BadRequest
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.status import AccountStatusChange
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.instance import rotation
from functions.lifecycle.instance.rotation import CredentialRotation
from functions.web.app import create
from functions.web.fields import Secret, VariableName
from functions.web.requests import body, raw_body
from functions.web.route import Proof, Route
from shim.contract.names import UUID

NAME = "webhooks"
# A fact from further ahead would stand in the way of every later one.
AHEAD = timedelta(minutes=5)
STANDINGS = {
    "account.suspended": AccountStatus.SUSPENDED,
    "account.resumed": AccountStatus.ACTIVE,
    "account.deleted": AccountStatus.DELETED,
}

# Verifies the signature over headers and body; the message's id. Raises Unauthorized.
VerifyWebhook = Callable[[Mapping[str, str], bytes], str]


class Said(BaseModel):
    """A sender may say more of it than is read here."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Subject(Said):
    account: Annotated[str, AfterValidator(valid_account)]


class Exchanged(Subject):
    instanceId: Annotated[str, Field(pattern=f"^{UUID.pattern}$")]
    secretVariables: Annotated[dict[VariableName, Secret], Field(min_length=1, max_length=512)]


class StandingChanged(Said):
    """`timestamp`: when it happened, which is what orders facts, and not when they arrive."""

    type: Literal["account.suspended", "account.resumed", "account.deleted"]
    timestamp: AwareDatetime
    data: Subject


class CredentialsRotated(Said):
    """`timestamp` as above, for each variable by itself."""

    type: Literal["credentials.rotated"]
    timestamp: AwareDatetime
    data: Exchanged


class Webhook(RootModel[Annotated[StandingChanged | CredentialsRotated, Field(discriminator="type")]]):
    pass


BACKEND = Route(
    "POST", "/backend", "Take word of an account: on record when this is answered, and then made so", {204: None},
    Webhook, problems=(errors.NotFound, errors.SecretsUnreadable), proof=Proof.BACKEND,
)  # fmt: skip
ROUTES = (BACKEND,)


def build(deps: Dependencies, verify: VerifyWebhook) -> Flask:
    app = create(NAME, deps.limits)

    @BACKEND.on(app)
    def backend() -> tuple[str, int]:
        message_id = verify(dict(request.headers), raw_body())
        said = body(Webhook).root
        if said.timestamp > deps.now() + AHEAD:
            raise BadRequest(f"timestamp {said.timestamp.isoformat()} is yet to come")
        if isinstance(said, StandingChanged):
            account_status.receive(
                deps, AccountStatusChange(message_id, said.data.account, STANDINGS[said.type], said.timestamp)
            )
        else:
            values = {name: value.get_secret_value() for name, value in said.data.secretVariables.items()}
            rotated = CredentialRotation(message_id, said.data.account, said.data.instanceId, said.timestamp, values)
            rotation.receive(deps, rotated)
        return "", 204

    return app
