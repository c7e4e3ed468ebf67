"""`enrol` and `notify`: called by the shims, who prove themselves by the keys that they have made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from flask import Flask, Response, jsonify
from pydantic import Field
from typing_extensions import TypedDict

from functions.domain import errors
from functions.domain.account.limits import Rate
from functions.domain.toolbox.enrolment import EnrolmentRequest
from functions.lifecycle.account.rates import Rates
from functions.lifecycle.dependencies import Certificates, Dependencies
from functions.lifecycle.toolbox import enrolment
from functions.web.app import create
from functions.web.callers import bearer
from functions.web.record_types import exact
from functions.web.requests import body, client_address
from functions.web.route import Empty, Proof, Route
from shim.contract.names import UUID

# Anybody may try; a shim asks once, and seldom again. Everybody behind one address shares.
TRIES = Rate(at_once=30, a_minute=30)
FORGERIES = Rate(at_once=120, a_minute=600)
# A shim sends one a second at most; what comes of one covers those that came meanwhile.
HINTS = Rate(at_once=5, a_minute=60)


class Enrol(Empty):
    """`token` may be left out once the certificate is enrolled."""

    toolbox_id: Annotated[str, Field(pattern=f"^{UUID.pattern}$")]
    droplet_id: Annotated[str, Field(pattern="^[0-9]{1,20}$")]
    certificate: Annotated[str, Field(max_length=8192)]
    token: Annotated[str, Field(max_length=256)] | None = None
    proof: Annotated[str, Field(max_length=4096)]


@exact
class Enrolled(TypedDict):
    """The keys that sign commands now: raw Ed25519 public keys in base64url, by their kid."""

    control_keys: dict[str, str]


ENROL = Route(
    "POST", "/", "Enrol a droplet's shim, or tell an enrolled one the present keys", {200: Enrolled}, Enrol,
    problems=(
        errors.Unauthorized, errors.EnrolmentRefused, errors.TooManyRequests, errors.ToolboxUnreachable,
        errors.DigitalOceanRefused, errors.DigitalOceanBusy, errors.DigitalOceanUnknown,
    ),
    proof=Proof.ANYBODY,
)  # fmt: skip
NOTIFY = Route(
    "POST", "/", "Hint that something changed on a droplet", {204: None}, problems=(errors.TooManyRequests,),
    proof=Proof.SHIM,
)  # fmt: skip


def build_enrol(deps: Dependencies, certificates: Certificates, control_keys: Mapping[str, str]) -> Flask:
    app = create("enrol", deps.limits)
    tries = Rates(TRIES, deps.now)

    @ENROL.on(app)
    def enrol() -> Response:
        tries.take(client_address())
        asked = body(Enrol)
        fingerprint = certificates.fingerprint(asked.certificate)
        certificates.verify(asked.certificate, asked.proof, "enrol", asked.toolbox_id)
        told = EnrolmentRequest(asked.toolbox_id, asked.droplet_id, asked.certificate, fingerprint, asked.token)
        enrolment.enrol(deps, told, certificates)
        answer: Enrolled = {"control_keys": dict(control_keys)}
        return jsonify(answer)

    return app


def build_notify(deps: Dependencies, certificates: Certificates) -> Flask:
    app = create("notify", deps.limits)
    tries, hints = Rates(FORGERIES, deps.now), Rates(HINTS, deps.now)

    @NOTIFY.on(app)
    def notify() -> tuple[str, int]:
        token = bearer()
        tries.take(client_address())
        enrolment.notify(deps, token, certificates, hints)
        return "", 204

    return app
