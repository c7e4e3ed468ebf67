"""A look at a batch of toolboxes: their documents are read together, and their shims are queried at the same time.

A sweep inspects every toolbox each minute. One message and one round trip to the store for each of them cost more than
the inspection itself, and one after the other a droplet that is off would hold the others up for as long as its
connection takes to fail. What is done to a toolbox, beside looking at it, is the task of its own message (toolbox.py).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from functions.domain.errors import DocumentUnreadable, ToolboxesError
from functions.domain.lease import is_free
from functions.domain.toolbox.model import CONTACTED, Toolbox
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.repository import Loaded, decode, toolbox_ref
from functions.lifecycle.toolbox import inspect as toolbox_inspect
from functions.lifecycle.toolbox.inspect import ChangedInstances
from shim.contract.errors import ShimError

log = logging.getLogger(__name__)

# A look that has not begun by then is left to the next sweep, which has published the toolbox again.
BEGIN_WITHIN = timedelta(seconds=50)


def run(deps: Dependencies, toolbox_ids: Sequence[str]) -> None:
    """Inspect these toolboxes at the same time, each unless a look at it is under way or a worker holds its lease.

    The failure of one look ends none of the others, and is made up for by the next sweep. Raises Unavailable where the
    documents could not be read.
    """
    started = deps.now()
    loaded = [found for found in _load(deps, toolbox_ids) if found.value.status in CONTACTED]
    free = [found for found in loaded if is_free(found.value.lease, started)]
    changed = toolbox_inspect.changed_instances(deps, [found.value for found in free], started)
    late: list[str] = []
    deps.concurrently([partial(_look, deps, found, changed, late) for found in free])
    if late:
        log.warning(
            "%d of %d toolboxes were not looked at within %d s; the next sweep publishes them again",
            len(late),
            len(free),
            BEGIN_WITHIN.total_seconds(),
            extra={"toolboxes": late},
        )


def _load(deps: Dependencies, toolbox_ids: Sequence[str]) -> list[Loaded[Toolbox]]:
    loaded = []
    for snapshot in deps.store.get([toolbox_ref(toolbox_id) for toolbox_id in dict.fromkeys(toolbox_ids)]):
        try:
            found = decode(deps, Toolbox, snapshot)
        except DocumentUnreadable:
            log.exception("a toolbox of the batch cannot be read")
            continue
        if found:
            loaded.append(found)
    return loaded


def _look(deps: Dependencies, found: Loaded[Toolbox], changed: ChangedInstances, late: list[str]) -> None:
    toolbox_id = found.value.id
    with deps.looks.enter(toolbox_id) as entered:
        if not entered:
            return
        if deps.now() - changed.read_at >= BEGIN_WITHIN:
            late.append(toolbox_id)
            return
        try:
            toolbox_inspect.inspect_loaded(deps, found, changed)
        except (ToolboxesError, ShimError):
            log.warning("a look at a toolbox failed", extra={"toolbox": toolbox_id}, exc_info=True)
        except Exception:
            log.exception("an unexpected error ended a look at a toolbox", extra={"toolbox": toolbox_id})
