"""One step, one call of the shim, one sighting. No judgement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from functions.domain import observe
from functions.domain.errors import SecretsUnreadable, ToolboxesError
from functions.domain.fallback import fallen_back
from functions.domain.host_port import redrawn
from functions.domain.instance import Instance
from functions.domain.plan import (
    AwaitHealth,
    CreateContainer,
    FallBack,
    Inspect,
    KeepPostMortem,
    PullImage,
    RedrawPorts,
    RemoveContainer,
    RestartContainer,
    ShakeHands,
    StartContainer,
    Step,
    StopContainer,
)
from functions.domain.secrets import strike
from functions.domain.spec import create_body
from functions.lifecycle import host_ports, post_mortems, registries, secrets
from functions.lifecycle.documents import claiming, giving_up
from functions.lifecycle.handshake import shake_hands
from functions.lifecycle.ports import Ports, Shim, Vault, Write
from shim.contract import errors as shim_errors
from shim.contract import messages, routes

Progress = Callable[[messages.Progress], None]


def execute(
    step: Step, shim: Shim, instance: Instance, start_by: datetime, ports: Ports, on_progress: Progress
) -> tuple[Instance, list[Write]]:
    """The instance with what this step saw folded in, its error included, and what is to be saved with it."""
    now = ports.now
    try:
        match step:
            case PullImage():
                pull = messages.Pull(step.image, registries.credentials(ports, instance.account, step.image))
                shim.pull(pull, start_by=start_by, on_progress=on_progress)
                return observe.pulled(instance, now()), []
            case ShakeHands():
                return observe.shaken(instance, shake_hands(step, shim, start_by, now)), []
            case KeepPostMortem():
                return observe.kept(instance, step), [post_mortems.keep(step, shim, instance, start_by, ports)]
            case RedrawPorts():
                other = redrawn(instance, host_ports.redrawn(ports, instance, step.ports))
                return other, [*claiming(other, instance), *giving_up(instance, other)]
            case FallBack():
                back = fallen_back(instance)
                return back, giving_up(instance, back)
        return observe.acted(instance, step, _command(step, shim, instance, start_by, ports.vault), now()), []
    except (shim_errors.ShimError, ToolboxesError) as error:
        return observe.erred(instance, step, _struck(error, ports.vault, instance), now(), start_by), []


def _command(step: Step, shim: Shim, instance: Instance, start_by: datetime, vault: Vault) -> messages.Acted:
    match step:
        case CreateContainer():
            opened = secrets.opened(vault, instance, step.spec)
            body = create_body(step.instance_id, step.spec_generation, step.spec, opened)
            answer = shim.command(routes.CREATE, body=body, start_by=start_by)
        case RestartContainer():
            again = messages.Restart(step.started_at)
            answer = shim.command(routes.RESTART, name=step.container, body=again, start_by=start_by)
        case StopContainer():
            answer = shim.command(routes.STOP, name=step.container, body=messages.Stop(), start_by=start_by)
        case _:
            answer = shim.command(ROUTES[type(step)], name=step.container, start_by=start_by)
    assert isinstance(answer, messages.Acted)
    return answer


def _struck(error: observe.Problem, vault: Vault, instance: Instance) -> observe.Problem:
    """The error as it may go on record: it may quote what a container said."""
    if isinstance(error, SecretsUnreadable):
        return error
    try:
        known = secrets.known(vault, instance)
    except SecretsUnreadable:
        return type(error)(f"{error.code}; what was said is left out, since it may hold a secret")
    return type(error)(strike(str(error), known))


ROUTES: dict[type[Step], routes.Route] = {
    Inspect: routes.INSPECT,
    AwaitHealth: routes.INSPECT,
    StartContainer: routes.START,
    RemoveContainer: routes.REMOVE,
}
