"""Room on a droplet: memory before a deploy, disk before a pull."""

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
KEPT_FREE_BYTES = 192 << 20
MAX_INSTANCES = 500
# Below either of these a pull may not fit.
FREE_DISK_BYTES, FREE_DISK_PART = 2 << 30, 0.1


def require_room(deps: Dependencies, toolbox: Toolbox, spec: Spec) -> None:
    """Raises NoRoom where the limits of what is there and of `spec` are more than the droplet's memory.

    A toolbox that cannot be asked is not refused: the wish is kept until it can, and its engine has its own word.
    """
    if toolbox.metrics is None:
        return
    try:
        start_by = deps.now() + lease.START_BY_MARGIN
        status, _ = deps.shims.for_toolbox(toolbox).list_containers(start_by=start_by)
    except (shim_errors.ShimError, ToolboxesError):
        log.info("room could not be asked for", extra={"toolbox": toolbox.id}, exc_info=True)
        return
    assert status is not None
    asked = engine_limits(spec).memory_bytes
    left = toolbox.metrics.memory.total_bytes - KEPT_FREE_BYTES - sum(c.memory_bytes for c in status.containers)
    if asked > left:
        raise NoRoom(f"{asked >> 20} MiB of memory are asked for and {max(left, 0) >> 20} MiB are left on this toolbox")


def disk_is_short(metrics: DropletMetrics | None) -> bool:
    return metrics is not None and (
        metrics.disk.free_bytes < FREE_DISK_BYTES or metrics.disk.free_bytes < metrics.disk.total_bytes * FREE_DISK_PART
    )


def prune(deps: Dependencies, toolbox: Toolbox, *, settling: Instance | None = None) -> None:
    """Remove the images that no instance of this toolbox names. What fails is logged: it is tidying, not the task.

    `settling`: one that is about to be saved so, whatever its document still says.
    """
    found = query(deps, Instance, living_instances(toolbox.id, MAX_INSTANCES))
    instances = [loaded.value for loaded in found]
    if len(instances) == MAX_INSTANCES:
        return  # Not all are known, so none may be called unnamed.
    if settling:
        instances = [settling if one.id == settling.id else one for one in instances]
    named = {i.spec.image for i in instances} | {i.previous_version.spec.image for i in instances if i.previous_version}
    try:
        start_by = deps.now() + lease.START_BY_MARGIN
        removed = deps.shims.for_toolbox(toolbox).prune_images(sorted(named), start_by=start_by)
        log.info("pruned images", extra={"toolbox": toolbox.id, "removed": removed})
    except (shim_errors.ShimError, ToolboxesError):
        log.warning("images could not be pruned", extra={"toolbox": toolbox.id}, exc_info=True)
