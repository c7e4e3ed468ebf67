"""A toolbox's shim replaced by the configured one: asked for as any upgrade, and seen to its end where that is soon."""

from __future__ import annotations

from datetime import timedelta

from functions.domain import lease
from functions.domain.account.caller import Caller
from functions.domain.errors import NotAllowedNow, OutcomeUnknown, ShimNotReplaced, ToolboxUnavailable
from functions.domain.toolbox import event
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import ShimStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.repository import toolbox_event
from functions.lifecycle.toolbox.change import Answer, ToolboxRequest, upgrade_shim
from functions.lifecycle.toolbox.read import get
from shim.contract import errors as shim_errors

REDEPLOYED_WITHIN = timedelta(seconds=25)
POLL_SECONDS = 0.5


def redeploy_shim(deps: Dependencies, asked: ToolboxRequest, image: str) -> Answer:
    """The toolbox once that shim has answered, or as it stands. Raises NotAllowedNow, ShimNotReplaced."""
    answer = upgrade_shim(deps, asked, image)
    if not isinstance(answer, Toolbox):
        return answer
    until, toolbox = deps.now() + REDEPLOYED_WITHIN, answer
    while not toolbox.settled and deps.now() < until:
        deps.pause(POLL_SECONDS)
        toolbox = get(deps, asked.caller, asked.toolbox_id)
    if toolbox.settled and toolbox.shim_image != image:
        why = toolbox.failure_reason
        raise ShimNotReplaced(f"the shim was not replaced: {why.message if why else 'another one answers'}")
    if toolbox.settled and asked.replay:
        deps.store.commit([asked.replay.answered(toolbox)])
    return toolbox


# A toolbox's shim started anew, proven by when it says that it began. Containers do not notice.

RESTARTED_WITHIN = timedelta(seconds=25)
POLL_SECONDS_, STATUS_SECONDS = 0.5, 5.0


def serving_since(deps: Dependencies, caller: Caller, toolbox_id: str) -> str:
    """When the process that serves now began, as it says."""
    return str(query_status(deps, get(deps, caller, toolbox_id)).started_at)


def restart_shim(deps: Dependencies, caller: Caller, toolbox_id: str, before: str) -> ShimStatus:
    """What the process after that of `before` says. Raises OutcomeUnknown where none is heard in time."""
    toolbox = get(deps, caller, toolbox_id)
    present = query_status(deps, toolbox)
    if str(present.started_at) != before:
        return present
    told = event.shim_restart_requested(toolbox, deps.new_id(), caller.subject, deps.now())
    deps.store.commit([toolbox_event(deps, toolbox, told)])
    until = deps.now() + RESTARTED_WITHIN
    try:
        start_by = deps.now() + lease.START_BY_MARGIN
        deps.shims.for_toolbox(toolbox).restart_shim(start_by=start_by, timeout=STATUS_SECONDS)
    except shim_errors.UnknownRoute:
        raise NotAllowedNow("this shim is of a version that cannot restart itself; upgrade it") from None
    except shim_errors.OutcomeUnknown:
        pass  # It may have ended before its answer was out; what it says of itself will tell.
    while deps.now() < until:
        deps.pause(POLL_SECONDS_)
        try:
            after = query_status(deps, toolbox)
        except (ToolboxUnavailable, shim_errors.OutcomeUnknown):
            continue
        if str(after.started_at) != before:
            return after
    raise OutcomeUnknown(
        f"the shim was asked to restart and was not heard anew within {RESTARTED_WITHIN.seconds} seconds"
    )


def query_status(deps: Dependencies, toolbox: Toolbox) -> ShimStatus:
    """What the shim says of itself, its containers and its system, now."""
    start_by = deps.now() + lease.START_BY_MARGIN
    return deps.shims.for_toolbox(toolbox).status(start_by=start_by, timeout=STATUS_SECONDS)
