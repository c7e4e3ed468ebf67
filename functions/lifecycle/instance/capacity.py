"""Capacity of a droplet: memory before a deploy, disk space before a pull."""

from __future__ import annotations

import logging

from functions.domain import lease
from functions.domain.errors import NoRoom, ToolboxesError
from functions.domain.instance.model import Instance
from functions.domain.instance.spec import Spec, engine_limits
from functions.domain.toolbox.model import Toolbox
from functions.domain.toolbox.shim import DropletMetrics
from functions.lifecycle.dependencies import Dependencies
from functions.lifecycle.repository import living_instances, query
from shim.contract import errors as shim_errors

log = logging.getLogger(__name__)

# For the system, the engine and the shim.
RESERVED_BYTES = 192 << 20
MAX_INSTANCES = 500
# A pull may fail with less free disk space than either of these.
MIN_FREE_BYTES, MIN_FREE_SHARE = 2 << 30, 0.1


def require_room(deps: Dependencies, toolbox: Toolbox, spec: Spec) -> None:
    """Raise NoRoom where the memory limits of the droplet's containers and of `spec` exceed its memory.

    A toolbox that does not answer is not refused: the deploy is carried out once it does, and the engine starts the
    container or says why not.
    """
    if toolbox.metrics is None:
        return
    try:
        start_by = lease.start_by_without_lease(deps.now())
        status, _ = deps.shims.for_toolbox(toolbox).list_containers(start_by=start_by)
    except (shim_errors.ShimError, ToolboxesError):
        log.info("the toolbox's free memory is unknown", extra={"toolbox": toolbox.id}, exc_info=True)
        return
    assert status is not None
    requested, used = engine_limits(spec).memory_bytes, sum(c.memory_bytes for c in status.containers)
    free = max(toolbox.metrics.memory.total_bytes - RESERVED_BYTES - used, 0)
    if requested > free:
        raise NoRoom(
            f"Not enough memory on this toolbox: {requested >> 20} MiB requested, {free >> 20} MiB free. "
            "Lower resourceLimits.memory or delete an instance."
        )


def disk_is_short(metrics: DropletMetrics | None) -> bool:
    """Return whether a pull may fill the disk, as far as its last metrics show."""
    return metrics is not None and (
        metrics.disk.free_bytes < MIN_FREE_BYTES or metrics.disk.free_bytes < metrics.disk.total_bytes * MIN_FREE_SHARE
    )


def prune(deps: Dependencies, toolbox: Toolbox, *, settling: Instance | None = None) -> None:
    """Remove the images that no instance of the toolbox uses. A failure is logged: this is only tidying up.

    `settling` is an instance that is about to be saved; it counts instead of its document.
    """
    instances = [loaded.value for loaded in query(deps, Instance, living_instances(toolbox.id, MAX_INSTANCES))]
    if len(instances) == MAX_INSTANCES:
        return  # There may be more, so no image is known to be unused.
    if settling:
        instances = [settling if instance.id == settling.id else instance for instance in instances]
    used = {i.spec.image for i in instances} | {i.previous_version.spec.image for i in instances if i.previous_version}
    try:
        start_by = lease.start_by_without_lease(deps.now())
        removed = deps.shims.for_toolbox(toolbox).prune_images(sorted(used), start_by=start_by)
        log.info("pruned images", extra={"toolbox": toolbox.id, "removed": removed})
    except (shim_errors.ShimError, ToolboxesError):
        log.warning("images could not be pruned", extra={"toolbox": toolbox.id}, exc_info=True)
