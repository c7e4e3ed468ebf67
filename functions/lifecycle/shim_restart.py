"""A toolbox's shim started anew, proven by when it says that it began. Containers do not notice.

Two calls, so that who repeats the second, its answer lost, has the same process ended and not the one after it.
"""

from __future__ import annotations

from datetime import timedelta

from functions.domain import event, lease
from functions.domain.caller import Caller
from functions.domain.errors import NotAllowedNow, OutcomeUnknown, ToolboxUnavailable
from functions.domain.toolbox import Toolbox
from functions.lifecycle.documents import recording_toolbox
from functions.lifecycle.ports import Ports
from functions.lifecycle.toolboxes import get
from shim.contract import errors as shim_errors
from shim.contract import messages, routes

PROVEN_WITHIN = timedelta(seconds=25)
LOOK_EVERY_SECONDS, LOOK_SECONDS = 0.5, 5.0


def serving(ports: Ports, caller: Caller, toolbox_id: str) -> str:
    """When the process that serves now began, as it says."""
    return str(look(ports, get(ports, caller, toolbox_id)).started_at)


def restart(ports: Ports, caller: Caller, toolbox_id: str, before: str) -> messages.Status:
    """What the process after that of `before` says. Raises OutcomeUnknown where none is heard in time."""
    toolbox = get(ports, caller, toolbox_id)
    present = look(ports, toolbox)
    if str(present.started_at) != before:
        return present
    told = event.shim_restart_requested(toolbox, ports.new_id(), caller.subject, ports.now())
    ports.store.commit([recording_toolbox(toolbox, told)])
    until = ports.now() + PROVEN_WITHIN
    try:
        start_by = ports.now() + lease.START_BY_MARGIN
        ports.shims.of(toolbox).command(routes.RESTART_SHIM, start_by=start_by, within=LOOK_SECONDS)
    except shim_errors.UnknownRoute:
        raise NotAllowedNow("this shim is of a version that cannot restart itself; upgrade it") from None
    except shim_errors.OutcomeUnknown:
        pass  # It may have ended before its answer was out; what it says of itself will tell.
    while ports.now() < until:
        ports.pause(LOOK_EVERY_SECONDS)
        try:
            after = look(ports, toolbox)
        except (ToolboxUnavailable, shim_errors.OutcomeUnknown):
            continue
        if str(after.started_at) != before:
            return after
    raise OutcomeUnknown(f"the shim was asked to restart and was not heard anew within {PROVEN_WITHIN.seconds} seconds")


def look(ports: Ports, toolbox: Toolbox) -> messages.Status:
    """What the shim says of itself, its containers and its system, now."""
    start_by = ports.now() + lease.START_BY_MARGIN
    answer = ports.shims.of(toolbox).command(routes.STATUS, start_by=start_by, query="metrics=1", within=LOOK_SECONDS)
    assert isinstance(answer, messages.Status)
    return answer
