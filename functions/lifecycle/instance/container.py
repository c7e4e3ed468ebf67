"""Read an instance's container as it is now: its logs and what it uses. Nothing is stored.

Logs are what Docker recorded, with secrets redacted, or a clear error; nothing is ever shown in their place.
"""

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
    """Turn the shim's errors about a container's state into NotAllowedNow, which names the instance."""
    try:
        yield
    except shim_errors.NoSuchContainer:
        raise NotAllowedNow(f"Instance {instance.name!r} has no container now. Start it first.") from None
    except shim_errors.NotRunning:
        raise NotAllowedNow(f"Instance {instance.name!r} is not running. Start it first.") from None


def read_logs(deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None) -> Logs:
    """Return the last `tail` lines, of those since the RFC 3339 time `since`.

    Raises NotAllowedNow where there is no container, SecretsUnreadable.
    """
    toolbox, found = find(deps, caller, toolbox_id, key)
    values = secrets.secret_values(deps.vault, found.value)
    start_by = lease.start_by_without_lease(deps.now())
    with caller_errors(found.value):
        shim = deps.shims.for_toolbox(toolbox)
        logs = shim.logs(found.value.container_name, tail=tail, since=since, start_by=start_by)
    return Logs([_redacted(line, values) for line in logs.lines], logs.truncated)


def follow_logs(
    deps: Dependencies, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None
) -> FollowedLog:
    """Return the same lines and then each new one until the container stops. Raises as `read_logs` does."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    values = secrets.secret_values(deps.vault, found.value)
    start_by = lease.start_by_without_lease(deps.now())
    with caller_errors(found.value):
        shim = deps.shims.for_toolbox(toolbox)
        lines = shim.follow_logs(found.value.container_name, tail=tail, since=since, start_by=start_by)
    return FollowedLog(lines, values)


class FollowedLog:
    """Log lines as they arrive; None is a sign of life every 10 s. Close it even if it was not read."""

    def __init__(self, lines: Lines[LogLine | None], values: Collection[str]) -> None:
        self._lines, self._values = lines, values

    def __iter__(self) -> Iterator[LogLine | None]:
        for line in self._lines:
            yield _redacted(line, self._values) if line else None

    def close(self) -> None:
        """Close the connection to the shim."""
        self._lines.close()


def read_stats(deps: Dependencies, caller: Caller, toolbox_id: str, key: str) -> ContainerStats:
    """Measure what the container uses, which takes two seconds. Raises NotAllowedNow where it does not run."""
    toolbox, found = find(deps, caller, toolbox_id, key)
    start_by = lease.start_by_without_lease(deps.now())
    with caller_errors(found.value):
        return deps.shims.for_toolbox(toolbox).stats(found.value.container_name, start_by=start_by)


def _redacted(line: LogLine, values: Collection[str]) -> LogLine:
    return replace(line, text=redact(line.text, values))
