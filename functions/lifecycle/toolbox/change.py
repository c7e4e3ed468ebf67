"""A new toolbox: on record at once, its droplet made by the queue's worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from functions.domain import event
from functions.domain.account.caller import Caller
from functions.domain.errors import Contended, NotAllowedNow, NotFound, Unavailable
from functions.domain.toolbox.droplet import IMAGE
from functions.domain.toolbox.model import Toolbox, ToolboxStatus
from functions.domain.toolbox.request import request_deprovision, request_rebuild, request_shim_upgrade
from functions.lifecycle.account.admission import admit_toolbox, require_active
from functions.lifecycle.dependencies import Dependencies, Task, Write
from functions.lifecycle.idempotency import EarlierAttempt, Replay, begin_once, find_earlier
from functions.lifecycle.instance.read import owned
from functions.lifecycle.reconcile.lease import ATTEMPTS, pause_before_retry, save, stamp
from functions.lifecycle.repository import decode, toolbox_event, toolbox_ref

log = logging.getLogger(__name__)

# A toolbox as it stands now, or the (status, body) that the same request was answered with before.
Answer = Toolbox | tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NewToolbox:
    """As asked; region, size and image by DigitalOcean's slugs."""

    name: str
    region: str
    size: str
    image: str = IMAGE
    description: str | None = None


def provision(deps: Dependencies, caller: Caller, new: NewToolbox, replay: Replay[Toolbox] | None = None) -> Answer:
    """Raises QuotaExceeded, AccountNotActive."""
    for attempt in range(ATTEMPTS):
        known, expired = find_earlier(deps, replay)
        if known:
            return answer_repeat(deps, known)
        toolbox = _drafted(deps, caller, new)
        asked = event.toolbox_requested(None, toolbox, "provision", caller.subject, deps.now())
        writes: list[Write] = [toolbox_event(toolbox, asked), admit_toolbox(deps, caller.account)]
        writes += [replay.asked_and_answered(toolbox, expired)] if replay else []
        if save(deps, toolbox, None, writes):
            notify_worker(deps, toolbox.id)
            return toolbox
        pause_before_retry(deps, attempt)
    raise Contended("the account's toolboxes are being changed by others; ask again")


def _drafted(deps: Dependencies, caller: Caller, new: NewToolbox) -> Toolbox:
    now = deps.now()
    return stamp(
        deps,
        Toolbox(
            id=deps.new_id(), account=caller.account, name=new.name, status=ToolboxStatus.PENDING_PROVISION,
            region=new.region, size=new.size, image=new.image, created_at=now, updated_at=now,
            description=new.description, due_at=now, needs_redeploy=True,
        ),
    )  # fmt: skip


def answer_repeat(deps: Dependencies, known: EarlierAttempt) -> Answer:
    """The stored answer; where there is none, the toolbox as it stands now."""
    if known.answer:
        return known.answer
    found = decode(Toolbox, deps.store.get([toolbox_ref(known.about)])[0])
    if found is None:
        raise NotFound(f"there is no toolbox {known.about}")
    return found.value


def notify_worker(deps: Dependencies, toolbox_id: str) -> None:
    """Have a worker take it up at once. The document says that it is due, and the sweep reads that."""
    try:
        deps.queue.publish([Task("toolbox", toolbox_id)])
    except Unavailable:
        log.warning("handing on was not confirmed", extra={"toolbox": toolbox_id}, exc_info=True)


# What an account asks of a toolbox that it has: the intent is written, and a worker makes it so.


@dataclass(frozen=True, slots=True)
class ToolboxRequest:
    """Who asks, of which toolbox, and under which Idempotency-Key."""

    caller: Caller
    toolbox_id: str
    replay: Replay[Toolbox] | None = None


def rebuild(deps: Dependencies, asked: ToolboxRequest) -> Answer:
    """Raises AccountNotActive, NotAllowedNow."""

    def ask(toolbox: Toolbox) -> Toolbox:
        require_active(toolbox)
        return request_rebuild(toolbox)

    return change(deps, asked, "rebuild", ask)


def deprovision(deps: Dependencies, asked: ToolboxRequest) -> Answer:
    return change(deps, asked, "deprovision", request_deprovision)


def upgrade_shim(deps: Dependencies, asked: ToolboxRequest, image: str) -> Answer:
    return change(deps, asked, "upgrade_shim", lambda toolbox: request_shim_upgrade(toolbox, image))


def change(deps: Dependencies, asked: ToolboxRequest, verb: str, ask: Callable[[Toolbox], Toolbox]) -> Answer:
    """Whoever holds the lease takes the intent up at its next save, else the next worker does."""
    for attempt in range(ATTEMPTS):
        known, expired = find_earlier(deps, asked.replay)
        if known:
            return answer_repeat(deps, known)
        found = decode(Toolbox, deps.store.get([toolbox_ref(asked.toolbox_id)])[0])
        try:
            toolbox = owned(asked.caller, asked.toolbox_id, found)
            wanted = ask(toolbox)
        except (NotFound, NotAllowedNow):
            # What stands in the way may be this request's own first attempt.
            known, _ = find_earlier(deps, asked.replay)
            if known:
                return answer_repeat(deps, known)
            raise
        if wanted == toolbox:
            begin_once(deps, asked.replay, lambda: asked.toolbox_id)
            return toolbox
        intent = stamp(deps, replace(wanted, due_at=deps.now()))
        told = event.toolbox_requested(toolbox, intent, verb, asked.caller.subject, deps.now())
        writes: list[Write] = [toolbox_event(intent, told)]
        writes += [asked.replay.asked(intent.id, deps.now(), expired)] if asked.replay else []
        if save(deps, intent, found, writes):
            notify_worker(deps, intent.id)
            return intent
        pause_before_retry(deps, attempt)
    raise Contended(f"toolbox {asked.toolbox_id} is being changed by others; ask again")
