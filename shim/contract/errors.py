"""Every error that a shim answers with, by its stable code.

On the wire an error is `{"error": {"code", "message"}}` with the class's HTTP status. In a stream, whose status was
sent long before, the same object is the field `error` of the last line.
"""

from __future__ import annotations

from typing import ClassVar


class ShimError(Exception):
    """Any answer of the shim but success. `message` is a sentence for a person."""

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500

    def __init_subclass__(cls, code: str, status: int | None = None) -> None:
        """`status` is the parent's where it is left out."""
        cls.code, cls.status = code, status or cls.status
        ERRORS[code] = cls

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


ERRORS: dict[str, type[ShimError]] = {ShimError.code: ShimError}


class Refused(ShimError, code="bad-request", status=400):
    """The command itself is at fault. Nothing was done, and the same command will be refused again."""


class BodyTooLarge(Refused, code="body-too-large", status=413): ...


class Unauthenticated(Refused, code="unauthenticated", status=401): ...


class ClockSkew(Unauthenticated, code="clock-skew"):
    """The clocks of the droplet and of the control plane differ by more than tokens.MAX_SKEW_SECONDS."""


class TokenStale(Unauthenticated, code="token-stale"):
    """The token expired, was used before, or was issued before this process started. Sign another one and retry."""


class Incompatible(Refused, code="shim-incompatible", status=409):
    """The command was signed for another version of the contract. The message names both versions."""


class UnknownRoute(Refused, code="unknown-route", status=404): ...


class NoSuchContainer(Refused, code="no-such-container", status=404): ...


class NoSuchImage(Refused, code="no-such-image", status=404):
    """The image is not on this droplet. Pull it."""


class OlderSpec(Refused, code="older-spec", status=409):
    """A container of a newer spec generation exists."""


class NameTaken(Refused, code="name-taken", status=409):
    """A container that this toolbox does not manage has the name."""


class NotRunning(Refused, code="not-running", status=409):
    """The command needs a running container."""


class StillRunning(Refused, code="still-running", status=409):
    """The command needs a container that is not running."""


class NoSuchVolume(Refused, code="no-such-volume", status=404): ...


class StorageRefused(ShimError, code="storage-refused", status=422):
    """The object storage refused a presigned URL for good, or its content is not what was saved."""


class ImageUnavailable(ShimError, code="image-unavailable", status=422):
    """The registry refused for good: there is no such image or tag."""


class ImageDenied(ImageUnavailable, code="image-denied"):
    """The registry wants credentials, or other ones."""


class WrongPlatform(ImageUnavailable, code="wrong-platform"):
    """The image exists, but not for this droplet's operating system and architecture."""


class StartFailed(ShimError, code="start-failed", status=422):
    """The engine cannot start this container, e.g. its command does not exist. The container stays `created`."""


class PortTaken(StartFailed, code="port-taken"):
    """Something else on the droplet listens on one of the container's host ports."""


class Transient(ShimError, code="try-again", status=503):
    """Nothing was done, or everything is as before. The same command may succeed later."""


class Busy(Transient, code="too-many-at-once"):
    """The shim serves as many commands of this kind, or as many body bytes, as it does at once."""


class RegistryUnreachable(Transient, code="registry-unreachable"): ...


class StorageUnreachable(Transient, code="storage-unreachable"): ...


class NotAnswering(Transient, code="not-answering"):
    """No HTTP server answers on that port of the container, or it closed the connection before it answered."""


class EngineUnavailable(Transient, code="engine-unavailable"): ...


class DiskFull(Transient, code="disk-full", status=507): ...


class OutcomeUnknown(ShimError, code="outcome-unknown", status=504):
    """The engine did not answer in time or closed the connection. The command may have been carried out: inspect."""
