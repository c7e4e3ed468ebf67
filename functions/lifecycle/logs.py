"""What a container wrote, as Docker kept it: real lines or a clear error, never anything in their place.

Known secret values are struck out of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from urllib.parse import urlencode

from functions.domain import lease
from functions.domain.caller import Caller
from functions.domain.secrets import strike
from functions.lifecycle import container, secrets
from functions.lifecycle.instances import find
from functions.lifecycle.ports import Lines, Ports
from shim.contract import messages, routes


def read(ports: Ports, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None) -> messages.Logs:
    """The last `tail` lines, of those since the RFC 3339 time `since`. Raises NotAllowedNow where no container is."""
    toolbox, found = find(ports, caller, toolbox_id, key)
    known = secrets.known(ports.vault, found.value)
    answer = container.ask(ports, toolbox, found.value, routes.LOGS, query=_query(tail, since))
    assert isinstance(answer, messages.Logs)
    return messages.Logs([_struck(line, known) for line in answer.lines], answer.truncated)


def follow(ports: Ports, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None) -> Followed:
    """As `read`, and then each line as it comes, until the container stops."""
    toolbox, found = find(ports, caller, toolbox_id, key)
    known = secrets.known(ports.vault, found.value)
    start_by = ports.now() + lease.START_BY_MARGIN
    with container.standing(found.value):
        shim = ports.shims.of(toolbox)
        lines = shim.follow(found.value.container_name, start_by=start_by, query=_query(tail, since))
    return Followed(lines, known)


class Followed:
    """Lines as they come; None is a sign of life, each 10 s. To be closed, also unread."""

    def __init__(self, lines: Lines[messages.FollowLine], known: Collection[str]) -> None:
        self._lines, self._known = lines, known

    def __iter__(self) -> Iterator[messages.LogLine | None]:
        for told in self._lines:
            yield _struck(told.line, self._known) if told.line else None

    def close(self) -> None:
        self._lines.close()


def _query(tail: int, since: str | None) -> str:
    return urlencode({"tail": tail} | ({"since": since} if since else {}))


def _struck(line: messages.LogLine, known: Collection[str]) -> messages.LogLine:
    return replace(line, text=strike(line.text, known))
