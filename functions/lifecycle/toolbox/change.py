"""What an account asks of a toolbox: the desired state is recorded at once, and the queue's worker reaches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from functions.domain.account.caller import Caller
from functions.domain.errors import NotAllowedNow, NotFound
from functions.domain.toolbox import event
from functions.domain.toolbox.droplet import IMAGE
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.domain.toolbox.request import request_deprovision, request_rebuild, request_shim_upgrade
from functions.lifecycle.account.admission import admit_toolbox, require_active
from functions.lifecycle.dependencies import Dependencies, Task, Write
from functions.lifecycle.idempotency import EarlierAttempt, Replay, begin_once, find_earlier
from functions.lifecycle.instance.read import owned
from functions.lifecycle.repository import (
    load_toolbox,
    publish_or_leave_to_sweep,
    save_or_conflict,
    stamp,
    toolbox_event,
    update_with_retry,
)

# A toolbox as it is now, or the (status, body) that the same request was answered with before.
Answer = Toolbox | tuple[int, dict[str, Any]]


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
    """Who asks, of which toolbox, and under which Idempotency-Key."""

    caller: Caller
    toolbox_id: str
    replay: Replay[Toolbox] | None = None


def provision(deps: Dependencies, caller: Caller, new: NewToolbox, replay: Replay[Toolbox] | None = None) -> Answer:
    """Record a new toolbox. Raises QuotaExceeded, AccountNotActive."""

    def attempt() -> Answer:
        earlier, expired = find_earlier(deps, replay)
        if earlier:
            return answer_repeat(deps, earlier)
        toolbox = _drafted(deps, caller, new)
        requested = event.requested(None, toolbox, "provision", caller.subject, deps.now())
        writes: list[Write] = [toolbox_event(deps, toolbox, requested), admit_toolbox(deps, caller.account)]
        writes += [replay.asked_and_answered(toolbox, expired)] if replay else []
        save_or_conflict(deps, toolbox, None, writes)
        notify_worker(deps, toolbox.id)
        return toolbox

    return update_with_retry(deps, attempt, "the account's toolboxes are being changed by others; ask again")


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


def rebuild(deps: Dependencies, request: ToolboxRequest) -> Answer:
    """Raises AccountNotActive, NotAllowedNow."""

    def with_change(toolbox: Toolbox) -> Toolbox:
        require_active(toolbox)
        return request_rebuild(toolbox)

    return change(deps, request, "rebuild", with_change)


def deprovision(deps: Dependencies, request: ToolboxRequest) -> Answer:
    return change(deps, request, "deprovision", request_deprovision)


def upgrade_shim(deps: Dependencies, request: ToolboxRequest, image: str) -> Answer:
    return change(deps, request, "upgrade_shim", lambda toolbox: request_shim_upgrade(toolbox, image))


def change(deps: Dependencies, request: ToolboxRequest, verb: str, with_change: Callable[[Toolbox], Toolbox]) -> Answer:
    """Record the change; the worker that holds the lease takes it up at its next save, else the next worker does."""

    def attempt() -> Answer:
        earlier, expired = find_earlier(deps, request.replay)
        if earlier:
            return answer_repeat(deps, earlier)
        found = load_toolbox(deps, request.toolbox_id)
        try:
            toolbox = owned(request.caller, request.toolbox_id, found)
            changed = with_change(toolbox)
        except (NotFound, NotAllowedNow):
            # What stands in the way may be this request's own first attempt.
            earlier, _ = find_earlier(deps, request.replay)
            if earlier:
                return answer_repeat(deps, earlier)
            raise
        if changed == toolbox:
            begin_once(deps, request.replay, lambda: request.toolbox_id)
            return toolbox
        intent = stamp(deps, replace(changed, due_at=deps.now()))
        requested = event.requested(toolbox, intent, verb, request.caller.subject, deps.now())
        writes: list[Write] = [toolbox_event(deps, intent, requested)]
        writes += [request.replay.asked(intent.id, deps.now(), expired)] if request.replay else []
        save_or_conflict(deps, intent, found, writes)
        notify_worker(deps, intent.id)
        return intent

    return update_with_retry(deps, attempt, f"toolbox {request.toolbox_id} is being changed by others; ask again")


def answer_repeat(deps: Dependencies, earlier: EarlierAttempt) -> Answer:
    """The stored answer; where there is none, the toolbox as it is now."""
    if earlier.answer:
        return earlier.answer
    found = load_toolbox(deps, earlier.about)
    if found is None:
        raise NotFound(f"there is no toolbox {earlier.about}")
    return found.value


def notify_worker(deps: Dependencies, toolbox_id: str) -> None:
    publish_or_leave_to_sweep(deps, Task("toolbox", toolbox_id))
