"""The operations on a toolbox and its droplet: the state before each, and what its worker does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from functions.domain.toolbox.model import Toolbox
from functions.lifecycle.dependencies import Dependencies, Query
from functions.lifecycle.idempotency import RequestKey
from functions.lifecycle.instance import change
from functions.lifecycle.instance.change import InstanceRequest
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.repository import TOOLBOXES
from functions.lifecycle.toolbox import change as toolbox_change
from functions.lifecycle.toolbox.change import ToolboxRequest, provision
from functions.lifecycle.toolbox.enrolment import enrol
from tests.fakes.fleet import NEW, FleetCertificates, enrolling
from tests.fakes.stored import decode
from tests.fakes.world import CALLER, new
from tests.faults.operations import Operation

if TYPE_CHECKING:
    from tests.faults.fleet_environment import FleetEnvironment

OTHER_SHIM = f"registry.test/shim@sha256:{'1' * 64}"


def the_toolbox(deps: Dependencies) -> Toolbox:
    [snapshot] = deps.store.query(Query(TOOLBOXES))
    loaded = decode(Toolbox, snapshot)
    assert loaded
    return loaded.value


def _provisioning(deps: Dependencies, key: RequestKey | None) -> None:
    provision(deps, CALLER, NEW)


def _enrolling(deps: Dependencies, key: RequestKey | None) -> None:
    """Handle the enrolment request of the newest droplet's shim, as the `enrol` function does."""
    # The token is in no document, only in the user-data that DigitalOcean holds.
    api: Any = deps.droplets
    enrol(deps, enrolling(*api.inner.newest()), FleetCertificates())


def _changing(verb: Callable[..., object], *more: object) -> Callable[[Dependencies, RequestKey | None], None]:
    def ask(deps: Dependencies, key: RequestKey | None) -> None:
        verb(deps, ToolboxRequest(CALLER, the_toolbox(deps).id), *more)

    return ask


def _sweeping(deps: Dependencies, key: RequestKey | None) -> None:
    deps.pause(60)
    sweep.sweep(deps)


def _nothing(env: FleetEnvironment) -> None:
    """No toolbox."""


def _made(env: FleetEnvironment) -> None:
    TOOLBOX_OPERATIONS["provision"].run(env.deps, env.queue, False)
    env.sweep(1)


def _booted(env: FleetEnvironment) -> None:
    _made(env)
    env.power_on()


def _lost(env: FleetEnvironment) -> None:
    """The create call made a droplet, and its answer was lost."""
    env.lose_create()
    _made(env)


def _with_instances(env: FleetEnvironment) -> None:
    _made(env)
    env.boot()
    env.sweep(60)
    toolbox = the_toolbox(env.deps)
    for number in range(2):
        deploy(env.deps, CALLER, toolbox.id, new(f"server-{number}", ports=(20_001 + number,)))
    change.stop(env.deps, InstanceRequest(CALLER, toolbox.id, "server-1"))
    for _ in range(2):
        env.sweep(60)


def _unreachable(env: FleetEnvironment) -> None:
    _with_instances(env)
    for droplet in env.fleet.values():
        droplet.reachable = False


def _rebuilding(env: FleetEnvironment) -> None:
    """Another droplet exists and has booted; its shim has not enrolled yet."""
    _with_instances(env)
    TOOLBOX_OPERATIONS["rebuild"].run(env.deps, env.queue, False)
    env.power_on()


def _upgradable(env: FleetEnvironment) -> None:
    _with_instances(env)
    for droplet in env.fleet.values():
        droplet.registry[OTHER_SHIM] = None


def operation(ask: Callable[[Dependencies, RequestKey | None], None], before: Callable[[Any], None]) -> Operation:
    return Operation(ask, before, takes_key=False)


TOOLBOX_OPERATIONS = {
    "provision": operation(_provisioning, _nothing),
    "provision-lost": operation(_sweeping, _lost),
    "enrol": operation(_enrolling, _booted),
    "rebuild": operation(_changing(toolbox_change.rebuild), _with_instances),
    "rebuild-unreachable": operation(_changing(toolbox_change.rebuild), _unreachable),
    "rebuild-enrol": operation(_enrolling, _rebuilding),
    "deprovision": operation(_changing(toolbox_change.deprovision), _with_instances),
    "deprovision-unreachable": operation(_changing(toolbox_change.deprovision), _unreachable),
    "deprovision-rebuilding": operation(_changing(toolbox_change.deprovision), _rebuilding),
    "upgrade-shim": operation(_changing(toolbox_change.upgrade_shim, OTHER_SHIM), _upgradable),
}
