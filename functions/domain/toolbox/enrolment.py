"""Whether a shim may enrol as a toolbox's: a ladder of refusals, one reason beside each. Pure."""

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
    """What a shim says. `certificate` is PEM, `fingerprint` its SHA-256; the proof of its key has been verified."""

    toolbox_id: str
    droplet_id: str
    certificate: str
    fingerprint: str
    token: str | None = field(default=None, repr=False)


def is_enrolled(toolbox: Toolbox, asked: EnrolmentRequest) -> bool:
    """The same certificate may ask again and again, without a token; another one never. Raises EnrolmentRefused."""
    if toolbox.certificate is None:
        return False
    if toolbox.fingerprint != asked.fingerprint:
        raise EnrolmentRefused("another certificate is enrolled for this toolbox")
    return True


def check_token(toolbox: Toolbox, asked: EnrolmentRequest, now: datetime) -> None:
    """Raises EnrolmentRefused."""
    attempt = toolbox.attempt
    if toolbox.desired_state is not ToolboxState.PROVISIONED or toolbox.failure_reason or attempt is None:
        raise EnrolmentRefused("no droplet of this toolbox is to enrol")
    if attempt.resolved and toolbox.droplet_id is None:
        # What it has made is to go, however often its shim asks.
        raise EnrolmentRefused("the droplet that is to enrol is not made yet")
    if asked.token is None:
        raise EnrolmentRefused("no certificate is enrolled for this toolbox yet, and no token was sent")
    given = hashlib.sha256(asked.token.encode()).hexdigest()
    if not hmac.compare_digest(given, attempt.token_hash):
        raise EnrolmentRefused("the token is not that of the droplet that is to enrol")
    if now >= attempt.expires_at:
        raise EnrolmentRefused("the token has expired")
    if toolbox.droplet_id not in (None, asked.droplet_id):
        raise EnrolmentRefused(f"the droplet that is to enrol is not {asked.droplet_id}")


def check_droplet(toolbox: Toolbox, asked: EnrolmentRequest, seen: Droplet | None) -> Droplet:
    """The droplet by that id, as the API knows it, where it is the one that was asked for. Raises EnrolmentRefused."""
    assert toolbox.attempt
    if seen is None or seen.name != droplet.droplet_name(toolbox.id, toolbox.attempt.number):
        raise EnrolmentRefused(f"droplet {asked.droplet_id} is not the one that was made for this toolbox")
    if seen.address is None:
        raise EnrolmentRefused(f"droplet {asked.droplet_id} has no address yet; ask again")
    return seen


def check_certificate(asked: EnrolmentRequest, shown: str, address: str) -> None:
    """`shown`: the fingerprint that answers at the droplet's address. Raises EnrolmentRefused."""
    if shown != asked.fingerprint:
        raise EnrolmentRefused(f"what answers at {address} shows another certificate")
