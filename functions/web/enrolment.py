"""The functions `enrol` and `notify`, which shims call. A shim authenticates itself with a key that it generated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from flask import Flask, Response
from pydantic import ConfigDict, Field

from functions.domain import errors
from functions.domain.account.model import Rate
from functions.domain.toolbox.enrolment import EnrolmentRequest
from functions.lifecycle.account.admission import Rates
from functions.lifecycle.dependencies import Certificates, Dependencies
from functions.lifecycle.toolbox import enrolment
from functions.web.app import create
from functions.web.records import Record, answer
from functions.web.requests import bearer_token, body, client_address
from functions.web.route import Body, Proof, Route
from shim.contract.names import UUID

# Anybody can try. A shim enrols once and at each start; all droplets behind one address share this.
ENROLMENTS = Rate(at_once=30, a_minute=30)
# Of one client address, before a hint's signature is checked.
HINTS_BY_ADDRESS = Rate(at_once=120, a_minute=600)
# Of one toolbox. A shim sends one hint a second at most, and one look covers all that came meanwhile.
HINTS_BY_TOOLBOX = Rate(at_once=5, a_minute=60)


class Enrol(Body):
    # The shim's messages are in snake case.
    model_config = ConfigDict(alias_generator=None)

    toolbox_id: Annotated[str, Field(pattern=f"^{UUID.pattern}$")] = Field(description="The toolbox's id.")
    droplet_id: Annotated[str, Field(pattern="^[0-9]{1,20}$")] = Field(description="DigitalOcean's id of the droplet.")
    certificate: Annotated[str, Field(max_length=8192)] = Field(description="The shim's certificate, PEM.")
    token: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="The enrolment token from user-data. Not needed once the certificate is enrolled."
    )
    proof: Annotated[str, Field(max_length=4096)] = Field(description="JWT that the certificate's key has signed.")


class Enrolled(Record):
    control_keys: dict[str, str] = Field(
        description="The keys that sign commands: raw Ed25519 public keys in base64url by their kid."
    )


ENROL = Route(
    operation="enrolShim",
    method="POST",
    path="/",
    summary="Enrol a droplet's shim",
    description="An enrolled shim is answered with the present keys.",
    answers={200: Enrolled},
    body=Enrol,
    problems=(
        errors.Unauthorized,
        errors.EnrolmentRefused,
        errors.TooManyRequests,
        errors.ToolboxUnreachable,
        errors.DigitalOceanRefused,
        errors.DigitalOceanBusy,
        errors.DigitalOceanUnknown,
    ),
    proof=Proof.ANYBODY,
)
NOTIFY = Route(
    operation="sendHint",
    method="POST",
    path="/",
    summary="Hint that something changed on a droplet",
    description="Has the toolbox inspected soon. A lost hint costs time only: the sweep inspects every toolbox.",
    answers={204: None},
    problems=(errors.TooManyRequests,),
    proof=Proof.SHIM,
)


def build_enrol(deps: Dependencies, certificates: Certificates, control_keys: Mapping[str, str]) -> Flask:
    """`control_keys`: the public keys that shims accept commands from, by key id."""
    app = create("enrol", deps.limits)
    rates = Rates(ENROLMENTS, deps.now)

    @ENROL.on(app)
    def enrol() -> Response:
        rates.take(client_address())
        message = body(Enrol)
        fingerprint = certificates.fingerprint(message.certificate)
        certificates.verify(message.certificate, message.proof, "enrol", message.toolbox_id)
        request = EnrolmentRequest(
            message.toolbox_id, message.droplet_id, message.certificate, fingerprint, message.token
        )
        enrolment.enrol(deps, request, certificates)
        return answer(Enrolled(control_keys=dict(control_keys)))

    return app


def build_notify(deps: Dependencies, certificates: Certificates) -> Flask:
    """Build the function's app."""
    app = create("notify", deps.limits)
    by_address, by_toolbox = Rates(HINTS_BY_ADDRESS, deps.now), Rates(HINTS_BY_TOOLBOX, deps.now)

    @NOTIFY.on(app)
    def notify() -> tuple[str, int]:
        token = bearer_token()
        by_address.take(client_address())
        enrolment.notify(deps, token, certificates, by_toolbox)
        return "", 204

    return app
