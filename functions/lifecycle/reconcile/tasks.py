"""The queue's tasks: one dispatch for the web's worker, the tests' fake world and the fault harness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from functions.lifecycle.account import status
from functions.lifecycle.dependencies import Dependencies, Task
from functions.lifecycle.instance import rotation
from functions.lifecycle.reconcile import instance, toolbox, toolboxes
from functions.lifecycle.rollout import rollouts
from functions.lifecycle.toolbox import orphan_droplets

Kind = Literal["instance", "toolbox", "toolboxes", "account", "rotation", "rollout", "orphan_droplets", "outbox"]
KINDS: tuple[str, ...] = get_args(Kind)


def run_task(deps: Dependencies, task: Task, deliver_outbox: Callable[[], None] | None = None) -> None:
    """Do what a task asks for; returning means that the message needs no redelivery.

    A task carries no data but ids: everything else is read from the store, so that a task that comes late, twice or
    in another order does no harm. `deliver_outbox` sends the webhooks that are due, where a target is configured.
    """
    match task.kind:
        case "instance":
            instance.run(deps, task.id)
        case "toolbox":
            toolbox.run(deps, task.id)
        case "toolboxes":
            toolboxes.run(deps, task.ids)
        case "account":
            status.apply(deps, task.id)
        case "rotation":
            rotation.apply(deps, task.id)
        case "rollout":
            rollouts.run(deps, task.id)
        case "orphan_droplets":
            orphan_droplets.find_orphans(deps)
        case "outbox":
            if deliver_outbox:
                deliver_outbox()
        case _:
            raise ValueError(f"There is no kind of task {task.kind!r}. The kinds are {', '.join(KINDS)}.")
