"""What the Docker Engine and registries say when something fails, as errors of the contract.

The engine tells most causes apart only by its words, so they are looked for here, in lower case, first match wins.
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
    # Docker Hub says "denied" for what does not exist, too; the engine then names both.
    (errors.ImageUnavailable, ("manifest unknown", "repository does not exist", "not found", "name unknown")),
    (errors.ImageDenied, ("access denied", "denied:", "unauthorized", "no basic auth credentials", "403 forbidden")),
    (errors.ImageUnavailable, ("invalid reference", "media type")),
)


def _matching(table: Table, words: str) -> type[errors.ShimError] | None:
    lowered = words.lower()
    return next((error for error, phrases in table if any(phrase in lowered for phrase in phrases)), None)


def of_engine(status: int, words: str) -> errors.ShimError:
    """The error for an answer of the engine: its HTTP status and its words."""
    by_status = {400: errors.Refused, 404: errors.NoSuchContainer, 409: errors.Transient}
    return (_matching(_ALWAYS, words) or by_status.get(status, errors.ShimError))(_said(words))


def of_create(status: int, words: str) -> errors.ShimError:
    by_status = {404: errors.NoSuchImage, 409: errors.NameTaken}
    return by_status[status](_said(words)) if status in by_status else of_engine(status, words)


def of_rename(status: int, words: str) -> errors.ShimError:
    return errors.NameTaken(_said(words)) if status == 409 else of_engine(status, words)


def of_start(status: int, words: str) -> errors.ShimError:
    """What is not known otherwise means that this container cannot be started."""
    if status == 404 and words.lower().startswith("no such container"):
        return errors.NoSuchContainer(_said(words))
    return (_matching(_ALWAYS, words) or _matching(_START, words) or errors.StartFailed)(_said(words))


def of_exec(status: int, words: str) -> errors.ShimError:
    """A container that is paused or does not run is a conflict."""
    return errors.NotRunning(_said(words)) if status == 409 else of_start(status, words)


def of_removal(status: int, words: str) -> errors.ShimError:
    """Another removal that is under way is as good as one's own."""
    going = status == 409 and "already in progress" in words
    return errors.NoSuchContainer(_said(words)) if going else of_engine(status, words)


def of_image_removal(status: int, words: str) -> errors.ShimError:
    """Gone, or used by a container: neither is there to be removed."""
    return errors.NoSuchImage(_said(words)) if status in (404, 409) else of_engine(status, words)


def of_registry(_: int, words: str) -> errors.ShimError:
    """What is not known otherwise may go away: timeouts, refused connections, a server's errors, TLS."""
    return (_matching(_ALWAYS, words) or _matching(_REGISTRY, words) or errors.RegistryUnreachable)(_said(words))


def of_socket(error: BaseException, silence: type[errors.ShimError]) -> errors.ShimError:
    """Where no answer came: what went wrong lies at the bottom of the client's own errors. `silence`: of a timeout."""
    causes = list(_causes(error))
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError | PermissionError) for cause in causes):
        return errors.EngineUnavailable("the engine's socket does not answer")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return silence("nothing was heard in time")
    return errors.OutcomeUnknown("the engine broke off")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(words: str) -> str:
    return f"the engine says: {words}"
