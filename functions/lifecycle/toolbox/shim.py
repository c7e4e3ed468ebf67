"""Replace or restart a toolbox's shim, and wait briefly for the proof. Neither affects containers."""

from __future__ import annotations

from datetime import timedelta

from functions.domain import lease
from functions.domain.account.model import Caller
from functions.domain.errors import NotAllowedNow, OutcomeUnknown, ShimNotReplaced, ToolboxUnavailable
from functions.domain.toolbox import event
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import ShimStatus
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.idempotency import CommitHook, record_outcome
from functions.lifecycle.repository import toolbox_event
from functions.lifecycle.toolbox.change import ToolboxRequest, upgrade_shim
from functions.lifecycle.toolbox.read import get
from shim.contract import errors as shim_errors

REDEPLOYED_WITHIN = timedelta(seconds=25)
RESTARTED_WITHIN = timedelta(seconds=25)
POLL_SECONDS = 0.5
STATUS_SECONDS = 5.0


def redeploy_shim(deps: Dependencies, request: ToolboxRequest, image: str) -> Toolbox:
    """Replace the shim by `image`, as any upgrade does; return the toolbox once that shim answers, or as it is then.

    Raises NotAllowedNow, and ShimNotReplaced where the upgrade failed.
    """
    toolbox = upgrade_shim(deps, request, image)
    return await_redeploy(deps, request.caller, toolbox, image, request.commit)


def await_redeploy(deps: Dependencies, caller: Caller, toolbox: Toolbox, image: str, commit: CommitHook) -> Toolbox:
    """The toolbox once the shim `image` has answered, or as it is after 25 s. Raises ShimNotReplaced."""
    until = deps.now() + REDEPLOYED_WITHIN
    while not toolbox.settled and deps.now() < until:
        deps.pause(POLL_SECONDS)
        toolbox = get(deps, caller, toolbox.id)
    if toolbox.settled and toolbox.shim_image != image:
        reason = toolbox.failure_reason
        raise ShimNotReplaced(f"The shim was not replaced: {reason.message if reason else 'another image answers'}.")
    if toolbox.settled:
        record_outcome(deps, commit, toolbox.id, toolbox)
    return toolbox


def serving_since(deps: Dependencies, caller: Caller, toolbox_id: str) -> str:
    """Return when the shim's present process started, by the droplet's clock."""
    return str(query_status(deps, get(deps, caller, toolbox_id)).started_at)


def restart_shim(deps: Dependencies, caller: Caller, toolbox_id: str, before: str) -> ShimStatus:
    """Restart the shim's process and return the status of the next one.

    `before` is when the process started that is to end: a process that started at another time proves the restart, so
    a repeated request does not restart it again. Raises OutcomeUnknown where no other process answers in time.
    """
    toolbox = get(deps, caller, toolbox_id)
    present = query_status(deps, toolbox)
    if str(present.started_at) != before:
        return present
    requested = event.shim_restart_requested(toolbox, deps.new_id(), caller.subject, deps.now())
    deps.store.commit([toolbox_event(deps, toolbox, requested)])
    until = deps.now() + RESTARTED_WITHIN
    try:
        start_by = lease.start_by_without_lease(deps.now())
        deps.shims.for_toolbox(toolbox).restart_shim(start_by=start_by, timeout=STATUS_SECONDS)
    except shim_errors.UnknownRoute:
        raise NotAllowedNow("This toolbox's shim is too old to restart itself; upgrade it.") from None
    except shim_errors.OutcomeUnknown:
        pass  # The process may have ended before its answer was sent; the status will show it.
    while deps.now() < until:
        deps.pause(POLL_SECONDS)
        try:
            after = query_status(deps, toolbox)
        except (ToolboxUnavailable, shim_errors.OutcomeUnknown):
            continue
        if str(after.started_at) != before:
            return after
    raise OutcomeUnknown(f"The shim did not answer from a new process within {RESTARTED_WITHIN.seconds} seconds.")


def query_status(deps: Dependencies, toolbox: Toolbox) -> ShimStatus:
    """Query the shim's report of itself, its containers and its droplet."""
    start_by = lease.start_by_without_lease(deps.now())
    return deps.shims.for_toolbox(toolbox).status(start_by=start_by, timeout=STATUS_SECONDS)
