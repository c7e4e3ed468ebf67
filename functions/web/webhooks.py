"""Webhooks in the form of Standard Webhooks: the function `webhooks` receives the backend's, and what ours contain.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Literal

from flask import Flask, request
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

from functions.domain import errors
from functions.domain.account.model import AccountStatus, valid_account
from functions.domain.errors import BadRequest
from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.status import AccountStatusChange
from functions.lifecycle.dependencies import Dependencies, Snapshot
from functions.lifecycle.instance import rotation
from functions.lifecycle.instance.rotation import CredentialRotation
from functions.web.app import create
from functions.web.fields import Secret, VariableName
from functions.web.records import EventRecord, InstanceRecord, ToolboxRecord, as_json
from functions.web.requests import body, raw_body
from functions.web.route import Proof, Route
from shim.contract.names import UUID

NAME = "webhooks"
# A timestamp further ahead would outrank every later message.
MAX_CLOCK_SKEW = timedelta(minutes=5)
ACCOUNT_STATUSES = {
    "account.suspended": AccountStatus.SUSPENDED,
    "account.resumed": AccountStatus.ACTIVE,
    "account.deleted": AccountStatus.DELETED,
}

# Verifies the signature over headers and body, and returns the message's id. Raises Unauthorized.
VerifyWebhook = Callable[[Mapping[str, str], bytes], str]


class Message(BaseModel):
    """A part of a webhook. The sender may add keys, so unknown ones are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, alias_generator=to_camel)


class AccountData(Message):
    account: Annotated[str, AfterValidator(valid_account)] = Field(description="The account: a token's `sub`.")


class CredentialData(AccountData):
    instance_id: Annotated[str, Field(pattern=f"^{UUID.pattern}$")] = Field(description="The instance's id.")
    secret_variables: Annotated[dict[VariableName, Secret], Field(min_length=1, max_length=512)] = Field(
        description="New values of secret variables by name. Variables that are not named keep theirs."
    )


class AccountStatusChanged(Message):
    type: Literal["account.suspended", "account.resumed", "account.deleted"] = Field(description="The new status.")
    timestamp: AwareDatetime = Field(description="When it happened. Messages take effect in this order.")
    data: AccountData = Field(description="Whose status changed.")


class CredentialsRotated(Message):
    type: Literal["credentials.rotated"] = Field(description="Secret variables were replaced.")
    timestamp: AwareDatetime = Field(description="When it happened. The newest value of each variable holds.")
    data: CredentialData = Field(description="The new values.")


class Webhook(RootModel[Annotated[AccountStatusChanged | CredentialsRotated, Field(discriminator="type")]]):
    """A message of the backend."""


BACKEND = Route(
    operation="receiveWebhook",
    method="POST",
    path="/backend",
    summary="Receive a webhook of the backend",
    description="204 once the message is stored; it is applied afterwards. A repeated webhook-id has no effect.",
    answers={204: None},
    body=Webhook,
    problems=(errors.NotFound, errors.SecretsUnreadable),
    proof=Proof.BACKEND,
)
ROUTES = (BACKEND,)


def build(deps: Dependencies, verify: VerifyWebhook) -> Flask:
    """Build the function's app."""
    app = create(NAME, deps.limits)

    @BACKEND.on(app)
    def backend() -> tuple[str, int]:
        message_id = verify(dict(request.headers), raw_body())
        message = body(Webhook).root
        if message.timestamp > deps.now() + MAX_CLOCK_SKEW:
            raise BadRequest(f"timestamp {message.timestamp.isoformat()} is in the future. Check the sender's clock.")
        if isinstance(message, AccountStatusChanged):
            status = ACCOUNT_STATUSES[message.type]
            change = AccountStatusChange(message_id, message.data.account, status, message.timestamp)
            account_status.receive(deps, change)
        else:
            data = message.data
            values = {name: value.get_secret_value() for name, value in data.secret_variables.items()}
            rotated = CredentialRotation(message_id, data.account, data.instance_id, message.timestamp, values)
            rotation.receive(deps, rotated)
        return "", 204

    return app


def outbound_message(kind: str, event: Snapshot, document: Instance | Toolbox) -> bytes:
    """The JSON of a webhook to the backend: the event, and the record as it is at the time of sending.

    Messages can arrive in any order; `generation` and `updated_at` of two records say which is newer.
    """
    happened = as_json(EventRecord.model_validate({"id": event.ref.id, **event.data}))
    record = (
        {"instance": as_json(InstanceRecord.model_validate(document))}
        if isinstance(document, Instance)
        else {"toolbox": as_json(ToolboxRecord.model_validate(document))}
    )
    return json.dumps({"type": kind, "timestamp": happened["time"], "data": {"event": happened, **record}}).encode()
