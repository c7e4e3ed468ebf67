"""One step, one call of the shim, one sighting. No judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from functions.domain import observe
from functions.domain.errors import ToolboxesError
from functions.domain.instance import Observed
from functions.domain.plan import (
    CreateContainer,
    Inspect,
    PullImage,
    RemoveContainer,
    RestartContainer,
    StartContainer,
    Step,
    StopContainer,
)
from functions.domain.spec import create_body
from functions.lifecycle.ports import Shim
from shim import protocol
from shim.protocol import messages


def execute(
    step: Step,
    shim: Shim,
    observed: Observed,
    *,
    start_by: datetime,
    now: Callable[[], datetime],
    on_progress: Callable[[messages.Progress], None],
) -> Observed:
    """`observed` with what this step saw folded in, its error included."""
    try:
        if isinstance(step, PullImage):
            shim.pull(messages.Pull(step.image), start_by=start_by, on_progress=on_progress)
            return observe.pulled(observed, now())
        return observe.acted(observed, _command(step, shim, start_by), now())
    except (protocol.ContractError, ToolboxesError) as error:
        return observe.erred(observed, error, now())


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
        case Inspect() | StartContainer() | RemoveContainer():
            answer = shim.command(ROUTES[type(step)], name=step.container, start_by=start_by)
        case _:
            raise TypeError(f"no call for {step!r}")
    assert isinstance(answer, messages.Acted)
    return answer


ROUTES: dict[type[Step], protocol.Route] = {
    Inspect: protocol.INSPECT,
    StartContainer: protocol.START,
    RemoveContainer: protocol.REMOVE,
}
