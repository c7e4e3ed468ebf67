"""What is left of a container that died or is about to be removed: its last lines and its last inspect."""

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
MAX_LOG_BYTES = 256_000
WITHIN = timedelta(seconds=10)
KEPT_FOR = timedelta(days=30)


def record(step: RecordPostMortem, shim: Shim, instance: Instance, start_by: datetime, deps: Dependencies) -> Put:
    """The document to be written with the next commit. What could not be fetched is named in it, never made up."""
    missing: list[str] = []
    lines: list[str] = []
    now = deps.now()
    try:
        known = secrets.secret_values(deps.vault, instance)
        logs = shim.logs(step.container, tail=LINES, start_by=start_by, timeout=WITHIN.total_seconds())
        lines = _bounded([f"{line.time} {line.stream} {redact(line.text, known)}" for line in logs.lines])
    except (shim_errors.ShimError, ToolboxesError) as error:
        missing.append(f"logs: {error}")
    observed = instance.observed
    seen = observed.previous if step.container == instance.previous_name else observed.container
    document: Document = {
        "container_name": step.container,
        "generation": instance.desired.generation,
        "cause": step.cause,
        "time": now,
        "container": asdict(seen) if seen else None,
        "logs": lines,
        "missing": missing,
        "expire_at": now + KEPT_FOR,
    }
    mark = hashlib.sha256(step.death.encode()).hexdigest()[:20]
    return Put(Ref(f"{INSTANCES}/{instance.id}/post_mortems", mark), document)


def _bounded(lines: list[str]) -> list[str]:
    """The newest lines that a document has room for."""
    taken, size = [], 0
    for line in reversed(lines):
        size += len(line.encode())
        if size > MAX_LOG_BYTES:
            break
        taken.append(line)
    return taken[::-1]
