"""What the Docker Engine and registries say when something fails, as errors of the contract. Pure.

The engine distinguishes most causes only by its text, so the text is searched, in lower case; the first match wins.
Sources: moby `daemon/start.go`, `daemon/errors.go`, `distribution/errors.go`, `libnetwork/portallocator`; runc.
"""

from __future__ import annotations

from collections.abc import Iterator

from shim.contract import errors

Table = tuple[tuple[type[errors.ShimError], tuple[str, ...]], ...]

_ALWAYS: Table = (
    (errors.DiskFull, ("no space left on device", "disk quota exceeded")),
    (errors.EngineUnavailable, ("containerd.sock", "client version", "ttrpc: closed", "daemon is shutting down")),
)
_START: Table = (
    (errors.PortTaken, ("port is already allocated", "address already in use")),
    (errors.Transient, ("marked for removal", "context deadline exceeded", "paused container")),
)
_REGISTRY: Table = (
    (errors.WrongPlatform, ("no matching manifest", "no match for platform", "the specified platform")),
    # Docker Hub answers "denied" for a repository that does not exist, too; the engine then names both causes.
    (errors.ImageUnavailable, ("manifest unknown", "repository does not exist", "not found", "name unknown")),
    (errors.ImageDenied, ("access denied", "denied:", "unauthorized", "no basic auth credentials", "403 forbidden")),
    (errors.ImageUnavailable, ("invalid reference", "media type")),
)


def from_engine(status: int, text: str) -> errors.ShimError:
    """The error for an HTTP status and message of the engine."""
    by_status = {400: errors.Refused, 404: errors.NoSuchContainer, 409: errors.Transient}
    return (_find(_ALWAYS, text) or by_status.get(status, errors.ShimError))(_quote(text))


def from_create(status: int, text: str) -> errors.ShimError:
    """The error for a refused create."""
    by_status = {404: errors.NoSuchImage, 409: errors.NameTaken}
    return by_status[status](_quote(text)) if status in by_status else from_engine(status, text)


def from_rename(status: int, text: str) -> errors.ShimError:
    """The error for a refused rename."""
    return errors.NameTaken(_quote(text)) if status == 409 else from_engine(status, text)


def from_start(status: int, text: str) -> errors.ShimError:
    """Every other cause means that this container cannot be started."""
    if status == 404 and text.lower().startswith("no such container"):
        return errors.NoSuchContainer(_quote(text))
    return (_find(_ALWAYS, text) or _find(_START, text) or errors.StartFailed)(_quote(text))


def from_exec(status: int, text: str) -> errors.ShimError:
    """The engine answers 409 for a container that is paused or not running."""
    return errors.NotRunning(_quote(text)) if status == 409 else from_start(status, text)


def from_removal(status: int, text: str) -> errors.ShimError:
    """A removal that is under way already is as good as one's own: the container is then waited for."""
    under_way = status == 409 and "already in progress" in text
    return errors.NoSuchContainer(_quote(text)) if under_way else from_engine(status, text)


def from_image_removal(status: int, text: str) -> errors.ShimError:
    """Gone, or used by a container: neither can be removed."""
    return errors.NoSuchImage(_quote(text)) if status in (404, 409) else from_engine(status, text)


def from_registry(_: int, text: str) -> errors.ShimError:
    """Every other cause may pass: timeouts, refused connections, errors of the server, TLS."""
    return (_find(_ALWAYS, text) or _find(_REGISTRY, text) or errors.RegistryUnreachable)(_quote(text))


def from_socket(error: BaseException, on_timeout: type[errors.ShimError]) -> errors.ShimError:
    """Where no answer came. The cause is at the bottom of the client's own exceptions."""
    causes = list(_causes(error))
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError | PermissionError) for cause in causes):
        return errors.EngineUnavailable("The engine's socket does not answer.")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return on_timeout("The engine did not answer in time.")
    return errors.OutcomeUnknown("The engine closed the connection before it answered.")


def _find(table: Table, text: str) -> type[errors.ShimError] | None:
    lowered = text.lower()
    return next((error for error, phrases in table if any(phrase in lowered for phrase in phrases)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _quote(text: str) -> str:
    return f"The engine answered: {text}"
