"""One step, one call of the shim, one sighting. No judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from functions.domain import observe
from functions.domain.errors import ToolboxesError
from functions.domain.instance import Instance
from functions.domain.plan import (
    AwaitHealth,
    CreateContainer,
    Inspect,
    KeepPostMortem,
    PullImage,
    RemoveContainer,
    RestartContainer,
    ShakeHands,
    StartContainer,
    Step,
    StopContainer,
)
from functions.domain.spec import create_body
from functions.lifecycle import post_mortems
from functions.lifecycle.handshake import shake_hands
from functions.lifecycle.ports import Shim, Write
from shim import protocol
from shim.protocol import messages

Progress = Callable[[messages.Progress], None]


def execute(
    step: Step, shim: Shim, instance: Instance, start_by: datetime, now: Callable[[], datetime], on_progress: Progress
) -> tuple[Instance, list[Write]]:
    """The instance with what this step saw folded in, its error included, and what is to be saved with it."""
    try:
        match step:
            case PullImage():
                shim.pull(messages.Pull(step.image), start_by=start_by, on_progress=on_progress)
                return observe.pulled(instance, now()), []
            case ShakeHands():
                return observe.shaken(instance, shake_hands(step, shim, start_by, now)), []
            case KeepPostMortem():
                return observe.kept(instance, step), [post_mortems.keep(step, shim, instance, start_by, now)]
        return observe.acted(instance, step, _command(step, shim, start_by), now()), []
    except (protocol.ContractError, ToolboxesError) as error:
        return observe.erred(instance, step, error, now(), start_by), []


def _command(step: Step, shim: Shim, start_by: datetime) -> messages.Acted:
    match step:
        case CreateContainer():
            body = create_body(step.instance_id, step.spec_generation, step.spec)
            answer = shim.command(protocol.CREATE, body=body, start_by=start_by)
        case RestartContainer():
            again = messages.Restart(step.started_at)
            answer = shim.command(protocol.RESTART, name=step.container, body=again, start_by=start_by)
        case StopContainer():
            answer = shim.command(protocol.STOP, name=step.container, body=messages.Stop(), start_by=start_by)
        case _:
            answer = shim.command(ROUTES[type(step)], name=step.container, start_by=start_by)
    assert isinstance(answer, messages.Acted)
    return answer


ROUTES: dict[type[Step], protocol.Route] = {
    Inspect: protocol.INSPECT,
    AwaitHealth: protocol.INSPECT,
    StartContainer: protocol.START,
    RemoveContainer: protocol.REMOVE,
}
