"""What there is to call: every function's routes, and the one document of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from functions.web import (
    digitalocean_options,
    openapi,
    shims,
    toolbox_dtma_console,
    toolbox_tools,
    toolboxes_user,
    webhooks,
    workers,
)
from functions.web.route import Route

FUNCTIONS: dict[str, tuple[Route, ...]] = {
    toolboxes_user.NAME: toolboxes_user.ROUTES,
    toolbox_tools.NAME: toolbox_tools.ROUTES,
    toolbox_dtma_console.NAME: toolbox_dtma_console.ROUTES,
    webhooks.NAME: webhooks.ROUTES,
    digitalocean_options.NAME: digitalocean_options.ROUTES,
    "enrol": (shims.ENROL,),
    "notify": (shims.NOTIFY,),
    "converge": (workers.CONVERGE,),
    "sweep": (workers.SWEEP,),
}


@cache
def document() -> dict[str, Any]:
    return openapi.document(FUNCTIONS)
