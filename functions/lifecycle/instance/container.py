"""An instance's container asked as it stands: nothing on record is changed by it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

from functions.domain import lease
from functions.domain.account.caller import Caller
from functions.domain.errors import NotAllowedNow
from functions.domain.instance.container import ContainerStats, LogLine, Logs
from functions.domain.instance.model import Instance
from functions.domain.secrets import redact
from functions.lifecycle.dependencies import Dependencies, Lines
from functions.lifecycle.instance import secrets
from functions.lifecycle.instance.read import find
from shim.contract import errors as shim_errors


@contextmanager
def caller_errors(instance: Instance) -> Iterator[None]:
    """What a shim says of a container that cannot be asked, in the caller's words."""
    try:
        yield
    except shim_errors.NoSuchContainer:
        raise NotAllowedNow(f"instance {instance.name!r} has no container now") from None
    except shim_errors.NotRunning:
        raise NotAllowedNow(f"instance {instance.name!r} is not running") from None


# What a container wrote, as Docker kept it: real lines or a clear error, never anything in their place.


def read_logs(deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None) -> Logs:
    """The last `tail` lines, of those since the RFC 3339 time `since`. Raises NotAllowedNow where no container is."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    known = secrets.secret_values(deps.vault, found.value)
    start_by = deps.now() + lease.START_BY_MARGIN
    with caller_errors(found.value):
        shim = deps.shims.of(toolbox)
        answer = shim.logs(found.value.container_name, tail=tail, since=since, start_by=start_by)
    return Logs([_struck(line, known) for line in answer.lines], answer.truncated)


def follow_logs(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None
) -> FollowedLog:
    """As `read`, and then each line as it comes, until the container stops."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    known = secrets.secret_values(deps.vault, found.value)
    start_by = deps.now() + lease.START_BY_MARGIN
    with caller_errors(found.value):
        shim = deps.shims.of(toolbox)
        lines = shim.follow_logs(found.value.container_name, tail=tail, since=since, start_by=start_by)
    return FollowedLog(lines, known)


class FollowedLog:
    """Lines as they come; None is a sign of life, each 10 s. To be closed, also unread."""

    def __init__(self, lines: Lines[LogLine | None], known: Collection[str]) -> None:
        self._lines, self._known = lines, known

    def __iter__(self) -> Iterator[LogLine | None]:
        for line in self._lines:
            yield _struck(line, self._known) if line else None

    def close(self) -> None:
        self._lines.close()


def _struck(line: LogLine, known: Collection[str]) -> LogLine:
    return replace(line, text=redact(line.text, known))


# What an instance's container uses, measured as it is asked.


def read_stats(deps: Dependencies, caller: Caller, toolbox_id: str, key: str) -> ContainerStats:
    """Takes two seconds. Raises NotAllowedNow where it does not run."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    start_by = deps.now() + lease.START_BY_MARGIN
    with caller_errors(found.value):
        return deps.shims.of(toolbox).stats(found.value.container_name, start_by=start_by)
