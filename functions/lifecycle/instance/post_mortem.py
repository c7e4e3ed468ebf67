"""The post-mortem of a container that ended or is about to be removed: its last log lines and its last inspect."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from datetime import datetime, timedelta

from functions.domain.errors import ToolboxesError
from functions.domain.instance.model import Instance
from functions.domain.instance.steps import RecordPostMortem
from functions.domain.secrets import redact
from functions.lifecycle.dependencies import Dependencies, Document, Put, Ref, Shim
from functions.lifecycle.instance import secrets
from functions.lifecycle.repository import INSTANCES
from shim.contract import errors as shim_errors

LINES = 200
# Of a document's 1 MiB; a line can be 64 KiB.
MAX_LOG_BYTES = 256_000
TIMEOUT = timedelta(seconds=10)
TTL = timedelta(days=30)


def record(step: RecordPostMortem, shim: Shim, instance: Instance, start_by: datetime, deps: Dependencies) -> Put:
    """Return the document for the next commit. What could not be read is named in its `missing`, never made up."""
    missing: list[str] = []
    lines: list[str] = []
    now = deps.now()
    try:
        values = secrets.secret_values(deps.vault, instance)
        logs = shim.logs(step.container, tail=LINES, start_by=start_by, timeout=TIMEOUT.total_seconds())
        lines = _newest([f"{line.time} {line.stream} {redact(line.text, values)}" for line in logs.lines])
    except (shim_errors.ShimError, ToolboxesError) as error:
        missing.append(f"logs: {error}")
    observed = instance.observed
    container = observed.previous if step.container == instance.previous_name else observed.container
    document: Document = {
        "container_name": step.container,
        "generation": instance.desired.generation,
        "cause": step.cause,
        "time": now,
        "container": asdict(container) if container else None,
        "logs": lines,
        "missing": missing,
        "expire_at": now + TTL,
    }
    post_mortem_id = hashlib.sha256(step.exit_id.encode()).hexdigest()[:20]
    return Put(Ref(f"{INSTANCES}/{instance.id}/post_mortems", post_mortem_id), document)


def _newest(lines: list[str]) -> list[str]:
    """Return the newest of `lines`, as many as a document has space for."""
    size, count = 0, 0
    for line in reversed(lines):
        size += len(line.encode())
        if size > MAX_LOG_BYTES:
            break
        count += 1
    return lines[len(lines) - count :]
