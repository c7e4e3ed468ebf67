"""What the Docker Engine and registries say when something fails, as errors of the contract.

The engine tells most causes apart only by its words, so they are looked for here, in lower case, first match wins.
Sources: moby `daemon/start.go`, `daemon/errors.go`, `distribution/errors.go`, `libnetwork/portallocator`; runc.
"""

from __future__ import annotations

from collections.abc import Iterator

from shim import protocol

Table = tuple[tuple[type[protocol.ContractError], tuple[str, ...]], ...]

_ALWAYS: Table = (
    (protocol.DiskFull, ("no space left on device", "disk quota exceeded")),
    (protocol.EngineUnavailable, ("containerd.sock", "client version", "ttrpc: closed", "daemon is shutting down")),
)
_START: Table = (
    (protocol.PortTaken, ("port is already allocated", "address already in use")),
    (protocol.Transient, ("marked for removal", "context deadline exceeded", "paused container")),
)
_REGISTRY: Table = (
    (protocol.WrongPlatform, ("no matching manifest", "no match for platform", "the specified platform")),
    # Docker Hub says "denied" for what does not exist, too; the engine then names both.
    (protocol.ImageUnavailable, ("manifest unknown", "repository does not exist", "not found", "name unknown")),
    (protocol.ImageDenied, ("access denied", "denied:", "unauthorized", "no basic auth credentials", "403 forbidden")),
    (protocol.ImageUnavailable, ("invalid reference", "media type")),
)


def _matching(table: Table, words: str) -> type[protocol.ContractError] | None:
    lowered = words.lower()
    return next((error for error, phrases in table if any(phrase in lowered for phrase in phrases)), None)


def of_engine(status: int, words: str) -> protocol.ContractError:
    """The error for an answer of the engine: its HTTP status and its words."""
    by_status = {400: protocol.Refused, 404: protocol.NoSuchContainer, 409: protocol.Transient}
    return (_matching(_ALWAYS, words) or by_status.get(status, protocol.ContractError))(_said(words))


def of_create(status: int, words: str) -> protocol.ContractError:
    by_status = {404: protocol.NoSuchImage, 409: protocol.NameTaken}
    return by_status[status](_said(words)) if status in by_status else of_engine(status, words)


def of_rename(status: int, words: str) -> protocol.ContractError:
    return protocol.NameTaken(_said(words)) if status == 409 else of_engine(status, words)


def of_start(status: int, words: str) -> protocol.ContractError:
    """What is not known otherwise means that this container cannot be started."""
    if status == 404 and words.lower().startswith("no such container"):
        return protocol.NoSuchContainer(_said(words))
    return (_matching(_ALWAYS, words) or _matching(_START, words) or protocol.StartFailed)(_said(words))


def of_exec(status: int, words: str) -> protocol.ContractError:
    """A container that is paused or does not run is a conflict."""
    return protocol.NotRunning(_said(words)) if status == 409 else of_start(status, words)


def of_removal(status: int, words: str) -> protocol.ContractError:
    """Another removal that is under way is as good as one's own."""
    going = status == 409 and "already in progress" in words
    return protocol.NoSuchContainer(_said(words)) if going else of_engine(status, words)


def of_image_removal(status: int, words: str) -> protocol.ContractError:
    """Gone, or used by a container: neither is there to be removed."""
    return protocol.NoSuchImage(_said(words)) if status in (404, 409) else of_engine(status, words)


def of_registry(_: int, words: str) -> protocol.ContractError:
    """What is not known otherwise may go away: timeouts, refused connections, a server's errors, TLS."""
    return (_matching(_ALWAYS, words) or _matching(_REGISTRY, words) or protocol.RegistryUnreachable)(_said(words))


def of_socket(error: BaseException, silence: type[protocol.ContractError]) -> protocol.ContractError:
    """Where no answer came: what went wrong lies at the bottom of the client's own errors. `silence`: of a timeout."""
    causes = list(_causes(error))
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError | PermissionError) for cause in causes):
        return protocol.EngineUnavailable("the engine's socket does not answer")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return silence("nothing was heard in time")
    return protocol.OutcomeUnknown("the engine broke off")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(words: str) -> str:
    return f"the engine says: {words}"
