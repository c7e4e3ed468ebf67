"""Every error that a shim answers with, by its stable code."""

from __future__ import annotations

from typing import ClassVar


class ShimError(Exception):
    """Anything the shim answers but success: `{"error": {"code", "message"}}` with `status`."""

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
    """The command itself is at fault: nothing was done, and repeating it changes nothing."""


class BodyTooLarge(Refused, code="body-too-large", status=413): ...


class Unauthenticated(Refused, code="unauthenticated", status=401): ...


class ClockSkew(Unauthenticated, code="clock-skew"): ...


class TokenStale(Unauthenticated, code="token-stale"):
    """Expired, used before, or issued before this process started: sign anew and ask again."""


class Incompatible(Refused, code="shim-incompatible", status=409): ...


class UnknownRoute(Refused, code="unknown-route", status=404): ...


class NoSuchContainer(Refused, code="no-such-container", status=404): ...


class NoSuchImage(Refused, code="no-such-image", status=404):
    """The image is not on this droplet; a pull may bring it."""


class OlderSpec(Refused, code="older-spec", status=409):
    """A container of a newer spec generation exists."""


class NameTaken(Refused, code="name-taken", status=409):
    """The container's name is held by one that this toolbox does not manage."""


class NotRunning(Refused, code="not-running", status=409):
    """Only a running container can be asked this."""


class StillRunning(Refused, code="still-running", status=409):
    """Only a container that does not run can be asked this."""


class NoSuchVolume(Refused, code="no-such-volume", status=404): ...


class StorageRefused(ShimError, code="storage-refused", status=422):
    """The storage refused a presigned URL for good, or holds something else than was said."""


class ImageUnavailable(ShimError, code="image-unavailable", status=422):
    """The registry refused, for good: no such image or tag, denied, or made for another platform."""


class ImageDenied(ImageUnavailable, code="image-denied"): ...


class WrongPlatform(ImageUnavailable, code="wrong-platform"): ...


class StartFailed(ShimError, code="start-failed", status=422):
    """The engine cannot start this container, e.g. its command does not exist; the container stays `created`."""


class PortTaken(StartFailed, code="port-taken"): ...


class Transient(ShimError, code="try-again", status=503):
    """Nothing was done or all is as before, and the same command may succeed later."""


class Busy(Transient, code="too-many-at-once"):
    """As many of these as the shim serves at once are under way."""


class RegistryUnreachable(Transient, code="registry-unreachable"): ...


class StorageUnreachable(Transient, code="storage-unreachable"): ...


class NotAnswering(Transient, code="not-answering"):
    """Nothing in the container answers at that port yet, or it broke off."""


class EngineUnavailable(Transient, code="engine-unavailable"): ...


class DiskFull(Transient, code="disk-full", status=507): ...


class OutcomeUnknown(ShimError, code="outcome-unknown", status=504):
    """The engine did not answer in time, or broke off: it may have happened. Inspect before saying anything."""
