"""What a container wrote, as Docker kept it: real lines or a clear error, never anything in their place."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

from functions.domain import lease
from functions.domain.caller import Caller
from functions.domain.errors import NotAllowedNow
from functions.domain.secrets import strike
from functions.lifecycle import secrets
from functions.lifecycle.instances import find
from functions.lifecycle.ports import Ports
from shim import protocol
from shim.protocol import messages


def read(ports: Ports, caller: Caller, toolbox_id: str, key: str, *, tail: int, since: str | None) -> messages.Logs:
    """The last `tail` lines, of those since the RFC 3339 time `since`, with known secrets struck out.

    Raises NotAllowedNow where no container is.
    """
    toolbox, found = find(ports, caller, toolbox_id, key)
    known = secrets.known(ports.vault, found.value)
    query = urlencode({"tail": tail} | ({"since": since} if since else {}))
    start_by = ports.now() + lease.START_BY_MARGIN
    try:
        answer = ports.shims.of(toolbox).command(
            protocol.LOGS, name=found.value.container_name, query=query, start_by=start_by
        )
    except protocol.NoSuchContainer:
        raise NotAllowedNow(f"instance {found.value.name!r} has no container now, and so no logs") from None
    assert isinstance(answer, messages.Logs)
    return messages.Logs([replace(line, text=strike(line.text, known)) for line in answer.lines], answer.truncated)
