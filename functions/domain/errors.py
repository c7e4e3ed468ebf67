"""Everything that can go wrong, as one tree; web/problems.py alone turns it into HTTP.

`code` is stable and goes into a problem document's `type`; the message is a sentence for the caller. Whatever is
not in this tree is a bug, and the caller learns no more than that.
"""

from __future__ import annotations

from typing import ClassVar


class ToolboxesError(Exception):
    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# The caller's request.


class BadRequest(ToolboxesError):
    code, status = "bad-request", 400


class Unauthorized(ToolboxesError):
    """No token, or one that proves nothing."""

    code, status = "unauthorized", 401


class NotFound(ToolboxesError):
    """Not there, or somebody else's: the two cannot be told apart."""

    code, status = "not-found", 404


class MethodNotAllowed(ToolboxesError):
    code, status = "method-not-allowed", 405


class NameTaken(ToolboxesError):
    code, status = "name-taken", 409


class KeyReused(ToolboxesError):
    """An Idempotency-Key came with another request than the first time."""

    code, status = "idempotency-key-reused", 422


class PortTaken(ToolboxesError):
    code, status = "port-taken", 409


class NotAllowedNow(ToolboxesError):
    """The thing is in a state in which this cannot be done, e.g. a toolbox that is being deprovisioned."""

    code, status = "not-allowed-now", 409


class AccountNotActive(ToolboxesError):
    """The account was suspended or deleted by the backend."""

    code, status = "account-not-active", 403


class QuotaExceeded(ToolboxesError):
    """The account has as much as it may have; says how much that is."""

    code, status = "quota-exceeded", 403


class TooManyRequests(ToolboxesError):
    """Asked too often; `retry_after` in seconds."""

    code, status = "too-many-requests", 429

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NoRoom(ToolboxesError):
    """The droplet cannot hold what was asked for; says how much is asked and left."""

    code, status = "no-room", 507


class PayloadTooLarge(ToolboxesError):
    code, status = "payload-too-large", 413


# The toolbox.


class ToolboxUnavailable(ToolboxesError):
    """The toolbox cannot answer now; what is known of it stays as it was."""

    code, status = "toolbox-unavailable", 503


class ToolboxUnreachable(ToolboxUnavailable):
    """No connection, or one that did not present the pinned certificate: nothing was sent."""

    code = "toolbox-unreachable"


class ShimIncompatible(ToolboxesError):
    """The toolbox's shim speaks another contract version; both are named."""

    code, status = "shim-incompatible", 409


class ShimTooOld(ToolboxesError):
    """The toolbox's shim speaks the previous contract version, which cannot do this. Upgrade it."""

    code, status = "shim-too-old", 409


class ToolboxRefused(ToolboxesError):
    """The shim or its engine answered with an error of its own; its code stands in the sentence."""

    code, status = "toolbox-refused", 502


class OutcomeUnknown(ToolboxesError):
    """It may have happened and may not; it is not done again for asking."""

    code, status = "outcome-unknown", 504


class ShimNotReplaced(ToolboxesError):
    """The configured shim did not serve; the one before does again, or none."""

    code, status = "shim-not-replaced", 502


class InstanceFailed(ToolboxesError):
    """What was asked of an instance was tried and given up; says why."""

    code, status = "instance-failed", 422


# DigitalOcean's API.


class DigitalOceanRefused(ToolboxesError):
    """What was asked is refused for good: nothing was done, and asking again changes nothing."""

    code, status = "digitalocean-refused", 502


class DigitalOceanBusy(ToolboxesError):
    """Nothing was done, and it may be done later: not before `retry_after` seconds, where it said so."""

    code, status = "digitalocean-busy", 503

    def __init__(self, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DigitalOceanUnknown(ToolboxesError):
    """No answer, a broken one, or a server's error: it may have been done. Look before asking again."""

    code, status = "digitalocean-unknown", 504


class EnrolmentRefused(ToolboxesError):
    """A shim may not be taken for this toolbox's; the sentence says why."""

    code, status = "enrolment-refused", 403


# The receiver of webhooks.


class NotDelivered(ToolboxesError):
    """A webhook was not taken, as far as was heard: it is sent again."""

    code, status = "not-delivered", 502


# The store, the queue and the vault.


class SecretsUnreadable(ToolboxesError):
    """What is sealed cannot be opened: its key is not configured, or it is not what was sealed."""

    code, status = "secrets-unreadable", 503


class DocumentUnreadable(ToolboxesError):
    """A stored document is malformed, or of a newer schema than this version of the functions knows."""

    code, status = "document-unreadable", 503


class Unavailable(ToolboxesError):
    """The store or the queue did not answer in time: ask again."""

    code, status = "unavailable", 503


class Contended(Unavailable):
    """Others changed the same document at every attempt."""

    code = "contended"


class Conflict(ToolboxesError):
    """A commit was refused as a whole: a precondition failed or a created document exists. Re-read, then judge."""

    code, status = "conflict", 409


class Misconfigured(ToolboxesError):
    """Raised at start-up; names the missing or invalid setting."""

    code = "misconfigured"
