"""Every expected error, as one tree. web/problems.py alone turns an error into HTTP.

`code` is stable and part of a problem document's `type`. `detail` is for the caller: it says what is wrong, with the
value, and what to do. An error outside this tree is a bug, and the caller learns nothing else about it.

To add an error: a class here with `code` and `status`; name it in `problems` of each route that can answer with it.
"""

from __future__ import annotations

from typing import ClassVar


class ToolboxesError(Exception):
    """The root of the tree. `status` is the HTTP status."""

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# The caller's request.


class BadRequest(ToolboxesError):
    code, status = "bad-request", 400


class Unauthorized(ToolboxesError):
    """The request has no token, or an invalid one."""

    code, status = "unauthorized", 401


class NotFound(ToolboxesError):
    """It does not exist, or belongs to another account: callers cannot distinguish the two."""

    code, status = "not-found", 404


class MethodNotAllowed(ToolboxesError):
    code, status = "method-not-allowed", 405


class NameTaken(ToolboxesError):
    code, status = "name-taken", 409


class KeyReused(ToolboxesError):
    """An Idempotency-Key was sent with another request before."""

    code, status = "idempotency-key-reused", 422


class PortTaken(ToolboxesError):
    code, status = "port-taken", 409


class NotAllowedNow(ToolboxesError):
    """The present state does not allow it, e.g. the toolbox is being deprovisioned."""

    code, status = "not-allowed-now", 409


class AccountNotActive(ToolboxesError):
    """The backend has suspended or deleted the account."""

    code, status = "account-not-active", 403


class QuotaExceeded(ToolboxesError):
    """The account would exceed its quota."""

    code, status = "quota-exceeded", 403


class TooManyRequests(ToolboxesError):
    """The rate limit is exceeded. `retry_after` is in seconds."""

    code, status = "too-many-requests", 429

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NoRoom(ToolboxesError):
    """The droplet has too little memory or disk."""

    code, status = "no-room", 507


class PayloadTooLarge(ToolboxesError):
    code, status = "payload-too-large", 413


# The toolbox.


class ToolboxUnavailable(ToolboxesError):
    """The toolbox cannot answer now; what was last observed of it stays recorded."""

    code, status = "toolbox-unavailable", 503


class ToolboxUnreachable(ToolboxUnavailable):
    """No connection, or not with the pinned certificate: nothing was sent."""

    code = "toolbox-unreachable"


class ShimIncompatible(ToolboxesError):
    """The shim speaks another contract version; the message names both."""

    code, status = "shim-incompatible", 409


class ShimTooOld(ToolboxesError):
    """The toolbox's shim speaks the previous contract version, which cannot do this. Upgrade it."""

    code, status = "shim-too-old", 409


class ToolboxRefused(ToolboxesError):
    """The shim or its engine answered with an error that has no class here; the message holds its code."""

    code, status = "toolbox-refused", 502


class OutcomeUnknown(ToolboxesError):
    """The effect may or may not have happened, and a repeat does not cause it again."""

    code, status = "outcome-unknown", 504


class ShimNotReplaced(ToolboxesError):
    """The configured shim did not serve; the previous one serves again, or none does."""

    code, status = "shim-not-replaced", 502


class InstanceFailed(ToolboxesError):
    """A requested change of an instance has failed."""

    code, status = "instance-failed", 422


# DigitalOcean's API.


class DigitalOceanRefused(ToolboxesError):
    """DigitalOcean refused the request: nothing was done, and a repeat would be refused too."""

    code, status = "digitalocean-refused", 502


class DigitalOceanBusy(ToolboxesError):
    """Nothing was done; try again, after `retry_after` seconds where DigitalOcean said so."""

    code, status = "digitalocean-busy", 503

    def __init__(self, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DigitalOceanUnknown(ToolboxesError):
    """No answer, a broken one, or a 5xx: it may have been done. Look before trying again."""

    code, status = "digitalocean-unknown", 504


class EnrolmentRefused(ToolboxesError):
    """The shim could not prove that it is this toolbox's."""

    code, status = "enrolment-refused", 403


# The receiver of webhooks.


class NotDelivered(ToolboxesError):
    """The receiver did not confirm a webhook: it is sent again."""

    code, status = "not-delivered", 502


# The store, the queue and the vault.


class SecretsUnreadable(ToolboxesError):
    """A secret cannot be decrypted: its key is not configured, or the ciphertext was changed."""

    code, status = "secrets-unreadable", 503


class DocumentUnreadable(ToolboxesError):
    """A stored document is malformed, or of a newer schema than this version of the functions knows."""

    code, status = "document-unreadable", 503


class Unstorable(ToolboxesError):
    """The store cannot hold a document: it is too large, or has a value or key of a kind that the store refuses."""

    code, status = "unstorable", 422


class Unavailable(ToolboxesError):
    """The store or the queue did not answer in time: try again."""

    code, status = "unavailable", 503


class Contended(Unavailable):
    """Other writers changed the same document at every attempt."""

    code = "contended"


class Conflict(ToolboxesError):
    """A commit was refused as a whole: a precondition failed, or a created document exists. Read again and decide."""

    code, status = "conflict", 409


# What is wrong with one document and with no other: a loop over documents logs it and goes on with the next.
OF_ONE_DOCUMENT = (Contended, DocumentUnreadable, Unstorable)


class Misconfigured(ToolboxesError):
    """Raised at start-up; names the missing or invalid setting."""

    code = "misconfigured"
