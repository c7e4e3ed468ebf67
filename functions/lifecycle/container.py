"""An instance's container asked as it stands: nothing on record is changed by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from functions.domain import lease
from functions.domain.errors import NotAllowedNow
from functions.domain.instance import Instance
from functions.domain.toolbox import Toolbox
from functions.lifecycle.ports import NOTHING, Ports
from shim.contract import errors as shim_errors
from shim.contract import messages
from shim.contract.routes import Route


def ask(
    ports: Ports, toolbox: Toolbox, instance: Instance, route: Route, *, body: messages.Message = NOTHING,
    query: str = "", within: float | None = None,
) -> Any:  # fmt: skip
    """The route's answer. Raises NotAllowedNow where no container is, or none that runs, and whatever Shim does."""
    start_by = ports.now() + lease.START_BY_MARGIN
    with standing(instance):
        return ports.shims.of(toolbox).command(
            route, name=instance.container_name, body=body, query=query, start_by=start_by, within=within
        )


@contextmanager
def standing(instance: Instance) -> Iterator[None]:
    """What a shim says of a container that cannot be asked, in the caller's words."""
    try:
        yield
    except shim_errors.NoSuchContainer:
        raise NotAllowedNow(f"instance {instance.name!r} has no container now") from None
    except shim_errors.NotRunning:
        raise NotAllowedNow(f"instance {instance.name!r} is not running") from None
