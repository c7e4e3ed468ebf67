"""What webhooks say: the event, and the record as it stands when it is sent, so that their order does not matter."""

from __future__ import annotations

import json

from functions.domain.instance.model import Instance
from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Snapshot
from functions.web.records import event_record, instance_record, toolbox_record


def announcement(kind: str, event: Snapshot, now: Instance | Toolbox) -> bytes:
    """A Standard Webhooks payload in JSON. `generation` and `updated_at` of the record say which of two is newer."""
    told = event_record({"id": event.ref.id, **event.data})
    record = {"instance": instance_record(now)} if isinstance(now, Instance) else {"toolbox": toolbox_record(now)}
    return json.dumps({"type": kind, "timestamp": told["time"], "data": {"event": told, **record}}).encode()
