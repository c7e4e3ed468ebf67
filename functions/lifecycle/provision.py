"""A new toolbox: on record at once, its droplet made by the queue's worker."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from functions.domain import event
from functions.domain.caller import Caller
from functions.domain.droplet import IMAGE
from functions.domain.errors import Contended, NotFound, Unavailable
from functions.domain.toolbox import Toolbox, ToolboxStatus
from functions.lifecycle.documents import load, recording_toolbox, toolbox_ref
from functions.lifecycle.hold import ATTEMPTS, backoff, stamped, write
from functions.lifecycle.ports import Ports, Task, Write
from functions.lifecycle.replay import Known, Replay, recall
from functions.lifecycle.standing import admission

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


def provision(ports: Ports, caller: Caller, new: NewToolbox, replay: Replay[Toolbox] | None = None) -> Answer:
    """Raises QuotaExceeded, AccountNotActive."""
    for attempt in range(ATTEMPTS):
        known, expired = recall(ports, replay)
        if known:
            return repeated(ports, known)
        toolbox = _drafted(ports, caller, new)
        asked = event.toolbox_requested(None, toolbox, "provision", caller.subject, ports.now())
        writes: list[Write] = [recording_toolbox(toolbox, asked), admission(ports, caller.account)]
        writes += [replay.asked_and_answered(toolbox, expired)] if replay else []
        if write(ports, toolbox, None, writes):
            hint(ports, toolbox.id)
            return toolbox
        backoff(ports, attempt)
    raise Contended("the account's toolboxes are being changed by others; ask again")


def _drafted(ports: Ports, caller: Caller, new: NewToolbox) -> Toolbox:
    now = ports.now()
    return stamped(
        ports,
        Toolbox(
            id=ports.new_id(), account=caller.account, name=new.name, status=ToolboxStatus.PENDING_PROVISION,
            region=new.region, size=new.size, image=new.image, created_at=now, updated_at=now,
            description=new.description, due_at=now, redeploy=True,
        ),
    )  # fmt: skip


def repeated(ports: Ports, known: Known) -> Answer:
    """The stored answer; where there is none, the toolbox as it stands now."""
    if known.answer:
        return known.answer
    found = load(Toolbox, ports.store.get([toolbox_ref(known.about)])[0])
    if found is None:
        raise NotFound(f"there is no toolbox {known.about}")
    return found.value


def hint(ports: Ports, toolbox_id: str) -> None:
    """Have a worker take it up at once. The document says that it is due, and the sweep reads that."""
    try:
        ports.queue.publish([Task("toolbox", toolbox_id)])
    except Unavailable:
        log.warning("handing on was not confirmed", extra={"toolbox": toolbox_id}, exc_info=True)
