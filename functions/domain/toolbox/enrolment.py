"""Whether a shim may enrol as the shim of a toolbox.

Enrolment makes the functions trust a certificate, so each condition is checked separately and has an error message of
its own. The token proves that the shim runs on a droplet that was created for this toolbox. The certificate at the
droplet's address, which the API names, proves that the shim is not elsewhere with a token that it copied.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime

from functions.domain.errors import EnrolmentRefused
from functions.domain.toolbox import droplet
from functions.domain.toolbox.droplet import Droplet
from functions.domain.toolbox.model import Toolbox, ToolboxState


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """A shim's request. `certificate` is PEM and `fingerprint` its SHA-256; the key's signature has been verified."""

    toolbox_id: str
    droplet_id: str
    certificate: str
    fingerprint: str
    token: str | None = field(default=None, repr=False)


def is_enrolled(toolbox: Toolbox, request: EnrolmentRequest) -> bool:
    """Whether this certificate is enrolled already. A repeat needs no token, since a shim may miss the first answer.

    Raises EnrolmentRefused where another certificate is enrolled.
    """
    if toolbox.certificate is None:
        return False
    if toolbox.fingerprint != request.fingerprint:
        raise EnrolmentRefused(
            "Another certificate is enrolled for this toolbox. Rebuild the toolbox to replace its shim's key."
        )
    return True


def check_token(toolbox: Toolbox, request: EnrolmentRequest, now: datetime) -> None:
    """Check the enrolment token of a request. Raises EnrolmentRefused."""
    attempt = toolbox.attempt
    if toolbox.desired_state is not ToolboxState.PROVISIONED or toolbox.failure_reason or attempt is None:
        raise EnrolmentRefused(
            "This toolbox expects no shim: it is being deprovisioned, has failed, or has no droplet yet."
        )
    if attempt.resolved and toolbox.droplet_id is None:
        # The attempt's droplet was given up and is to be destroyed, or the next attempt has not been made.
        raise EnrolmentRefused("This toolbox has no droplet yet. Try again.")
    if request.token is None:
        raise EnrolmentRefused("No certificate is enrolled for this toolbox yet, so an enrolment token is required.")
    token_hash = hashlib.sha256(request.token.encode()).hexdigest()
    if not hmac.compare_digest(token_hash, attempt.token_hash):
        raise EnrolmentRefused("The enrolment token is not that of the toolbox's present droplet.")
    if now >= attempt.expires_at:
        raise EnrolmentRefused(f"The enrolment token expired at {attempt.expires_at:%Y-%m-%dT%H:%M:%SZ}.")
    if toolbox.droplet_id not in (None, request.droplet_id):
        raise EnrolmentRefused(f"Droplet {request.droplet_id} is not the toolbox's present droplet.")


def check_droplet(toolbox: Toolbox, request: EnrolmentRequest, found: Droplet | None) -> Droplet:
    """Return `found`, which the API describes under the requested id, if it is this toolbox's.

    Raises EnrolmentRefused.
    """
    assert toolbox.attempt
    if found is None or found.name != droplet.droplet_name(toolbox.id, toolbox.attempt.number):
        raise EnrolmentRefused(f"Droplet {request.droplet_id} was not created for this toolbox.")
    if found.address is None:
        raise EnrolmentRefused(f"Droplet {request.droplet_id} has no public address yet. Try again.")
    return found


def check_certificate(request: EnrolmentRequest, met: str, address: str) -> None:
    """Check that the fingerprint met at the droplet's address is the requested one. Raises EnrolmentRefused."""
    if met != request.fingerprint:
        raise EnrolmentRefused(f"The server at {address} has another certificate than the one to enrol.")
