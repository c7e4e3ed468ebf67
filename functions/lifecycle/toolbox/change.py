"""Requests about a toolbox: the desired state is recorded at once, and the queue's worker reaches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from functions.domain.account.model import Caller
from functions.domain.errors import Conflict, NotFound
from functions.domain.toolbox import event
from functions.domain.toolbox.droplet import IMAGE
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.domain.toolbox.request import request_deprovision, request_rebuild, request_shim_upgrade
from functions.lifecycle.account.admission import admit_toolbox, require_active
from functions.lifecycle.dependencies import Dependencies, Task, Write
from functions.lifecycle.idempotency import WITHOUT_KEY, CommitHook, record_intent, save_intent
from functions.lifecycle.instance.read import owned
from functions.lifecycle.repository import (
    load_toolbox,
    publish_or_leave_to_sweep,
    save_or_conflict,
    stamp,
    toolbox_event,
    update_with_retry,
)


@dataclass(frozen=True, slots=True)
class NewToolbox:
    """As requested; region, size and image by DigitalOcean's slugs."""

    name: str
    region: str
    size: str
    image: str = IMAGE
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ToolboxRequest:
    """Who requests it, and for which toolbox; `commit` is the hook of the request's idempotency key."""

    caller: Caller
    toolbox_id: str
    commit: CommitHook = WITHOUT_KEY


def provision(deps: Dependencies, caller: Caller, new: NewToolbox, commit: CommitHook = WITHOUT_KEY) -> Toolbox:
    """Record a new toolbox. Raises QuotaExceeded, AccountNotActive."""

    def attempt() -> Toolbox:
        toolbox = _drafted(deps, caller, new)
        requested = event.requested(None, toolbox, "provision", caller.subject, deps.now())
        writes: list[Write] = [toolbox_event(deps, toolbox, requested), admit_toolbox(deps, caller.account)]
        try:
            save_or_conflict(deps, toolbox, None, [*writes, *commit.intent_and_outcome(toolbox.id, toolbox)])
        except Conflict:
            commit.refused()
            raise
        notify_worker(deps, toolbox.id)
        return toolbox

    return update_with_retry(deps, attempt, "The account's toolboxes are being changed by other requests. Try again.")


def _drafted(deps: Dependencies, caller: Caller, new: NewToolbox) -> Toolbox:
    now = deps.now()
    toolbox = Toolbox(
        id=deps.new_id(),
        account=caller.account,
        name=new.name,
        status=ToolboxStatus.PENDING_PROVISION,
        region=new.region,
        size=new.size,
        image=new.image,
        created_at=now,
        updated_at=now,
        description=new.description,
        due_at=now,
        needs_redeploy=True,
    )
    return stamp(deps, toolbox)


def rebuild(deps: Dependencies, request: ToolboxRequest) -> Toolbox:
    """Request another droplet for the toolbox. Raises AccountNotActive, NotAllowedNow."""

    def with_change(toolbox: Toolbox) -> Toolbox:
        require_active(toolbox)
        return request_rebuild(toolbox)

    return change(deps, request, "rebuild", with_change)


def deprovision(deps: Dependencies, request: ToolboxRequest) -> Toolbox:
    """Request that the toolbox's droplet and instances are deleted."""
    return change(deps, request, "deprovision", request_deprovision)


def upgrade_shim(deps: Dependencies, request: ToolboxRequest, image: str) -> Toolbox:
    """Request that the toolbox's shim runs `image`."""
    return change(deps, request, "upgrade_shim", lambda toolbox: request_shim_upgrade(toolbox, image))


def change(
    deps: Dependencies, request: ToolboxRequest, verb: str, with_change: Callable[[Toolbox], Toolbox]
) -> Toolbox:
    """Record the change; the worker that holds the lease takes it up at its next save, else the next worker does."""

    def attempt() -> Toolbox:
        found = load_toolbox(deps, request.toolbox_id)
        toolbox = owned(request.caller, request.toolbox_id, found)
        changed = with_change(toolbox)
        if changed == toolbox:
            record_intent(deps, request.commit, toolbox.id)
            return toolbox
        intent = stamp(deps, replace(changed, due_at=deps.now()))
        requested = event.requested(toolbox, intent, verb, request.caller.subject, deps.now())
        save_intent(deps, request.commit, intent, found, [toolbox_event(deps, intent, requested)])
        notify_worker(deps, intent.id)
        return intent

    return update_with_retry(
        deps, attempt, f"Toolbox {request.toolbox_id} is being changed by other requests. Try again."
    )


def resume(deps: Dependencies, toolbox_id: str) -> Toolbox:
    """The toolbox as it is now, for a request whose change is recorded: the worker reaches it. Raises NotFound."""
    found = load_toolbox(deps, toolbox_id)
    if found is None:
        raise NotFound(f"There is no toolbox {toolbox_id!r}.")
    return found.value


def notify_worker(deps: Dependencies, toolbox_id: str) -> None:
    """Publish the task that reconciles the toolbox."""
    publish_or_leave_to_sweep(deps, Task("toolbox", toolbox_id))
