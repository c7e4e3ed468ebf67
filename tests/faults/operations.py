"""The operations of the crash matrix: the state before each, and what its worker does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functions.adapters.queue_sqlite import SqliteQueue
from functions.domain.account.model import AccountStatus
from functions.domain.instance.container import Port
from functions.domain.instance.model import Instance
from functions.domain.instance.spec import Mcp
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.status import AccountStatusChange
from functions.lifecycle.dependencies import Dependencies, Task
from functions.lifecycle.idempotency import CommitHook, KeyedRequest, RequestKey, StoredAnswer, run_once
from functions.lifecycle.instance import change, rotation
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.instance.rotation import CredentialRotation
from functions.lifecycle.reconcile import sweep
from functions.lifecycle.reconcile.tasks import run_task
from tests.fakes.droplet import IMAGE
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, new

if TYPE_CHECKING:
    from tests.faults.environment import Environment

NAME = "server"
SECOND, PULLED, BROKEN = "registry.test/server:2", "registry.test/pulled:1", "registry.test/broken:1"

# Host ports that these operations never request by number: a port in this range was allocated.
ALLOCATED = range(20_010, 30_000)

Answer = Instance | StoredAnswer
Ask = Callable[[Dependencies, RequestKey | None], Answer | None]
KEY = RequestKey(ACCOUNT, "key-1", "fingerprint")


@dataclass(frozen=True)
class Operation:
    """An operation and the state before it.

    Attributes:
        ask: The account's request, or the scheduler's call; the same worker handles what it publishes.
        before: Brings about the state before.
        takes_key: Whether it runs with an idempotency key too.
        fails: The operation fails. The next worker may try again what failed, so only the final state is compared.
        sent_again: The sender repeats the request until it is answered, as a webhook's sender does.
    """

    ask: Ask
    before: Callable[[Environment], None]
    takes_key: bool = True
    fails: bool = False
    sent_again: bool = False

    def run(self, deps: Dependencies, queue: SqliteQueue, keyed: bool) -> None:
        self.ask(deps, KEY if keyed else None)
        deliver(deps, queue)


def render(instance: Instance) -> StoredAnswer:
    return StoredAnswer(200, {"status": instance.status.value, "generation": instance.desired.generation})


def once(deps: Dependencies, key: RequestKey | None, first: Callable[[CommitHook], Instance]) -> Answer:
    """The request `first`, under `key` where there is one, as the web runs it."""
    keyed = KeyedRequest(deps, key, render) if key else None
    return run_once(keyed, first, lambda about, _: change.resume(deps, about))


def deliver(deps: Dependencies, queue: SqliteQueue) -> None:
    """Run the task of every message that is due."""

    def push(envelope: dict[str, Any]) -> bool:
        task = Task(**json.loads(base64.b64decode(envelope["message"]["data"])))
        run_task(deps, task)
        return True

    queue.deliver(push, deps.now)


def _deploying(image: str = IMAGE, *, start: bool = True) -> Ask:
    wanted = new(NAME, image=image, ports=(0, 20_001), start=start)
    return lambda deps, key: once(deps, key, lambda commit: deploy(deps, CALLER, TOOLBOX, wanted, commit))


def _changing(verb: Callable[[Dependencies, InstanceRequest], Instance]) -> Ask:
    def ask(deps: Dependencies, key: RequestKey | None) -> Answer:
        return once(deps, key, lambda commit: verb(deps, InstanceRequest(CALLER, TOOLBOX, NAME, commit)))

    return ask


def _updating(image: str, mcp: Mcp | None = None) -> Ask:
    """Change the image, release one host port and request another."""
    changes = Changes(lambda old: replace(old, image=image, mcp=mcp), [Port(3000, 0), Port(4000, 20_002)])
    return _changing(lambda deps, request: update(deps, request, changes))


def _sweeping(deps: Dependencies, key: RequestKey | None) -> None:
    deps.pause(60)
    sweep.sweep(deps)


def _status_message(status: AccountStatus, day: int) -> Ask:
    """The backend's webhook about the account's status."""
    message = AccountStatusChange(f"msg_{day}", ACCOUNT, status, datetime(2026, 1, day, tzinfo=UTC))
    return lambda deps, key: account_status.receive(deps, message)


def _rotating(deps: Dependencies, key: RequestKey | None) -> None:
    [instance] = instances.page(deps, CALLER, TOOLBOX, 1, None).records
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rotation.receive(deps, CredentialRotation("msg_1", ACCOUNT, instance.id, at, {"API_KEY": "new"}))


def _nothing(env: Environment) -> None:
    """A toolbox without instances."""


def _running(env: Environment) -> None:
    OPERATIONS["deploy"].run(env.deps, env.queue, False)
    env.sweep(60)


def _stopped(env: Environment) -> None:
    _running(env)
    OPERATIONS["stop"].run(env.deps, env.queue, False)
    env.sweep(60)


def _suspended(env: Environment) -> None:
    _running(env)
    OPERATIONS["suspend"].run(env.deps, env.queue, False)
    env.sweep(60)


def _removed_by_hand(env: Environment) -> None:
    _running(env)
    env.droplet.containers.clear()


def _edited(env: Environment) -> None:
    _running(env)
    [container] = env.droplet.containers.values()
    limits = replace(container.limits, pids=9)
    env.droplet.containers[container.name] = replace(container, limits=limits, endpoint_id="edited")


def _back_after_delete(env: Environment) -> None:
    """A create reached the engine after the instance was deleted."""
    _running(env)
    [container] = env.droplet.containers.values()
    OPERATIONS["delete"].run(env.deps, env.queue, False)
    env.sweep(60)
    env.droplet.containers[container.name] = container


def _died(env: Environment) -> None:
    _running(env)
    [name] = env.droplet.containers
    env.droplet.die(name, exit_code=3)


def _crashing(env: Environment) -> None:
    _running(env)
    [name] = env.droplet.containers
    env.droplet.crash(name, restarts=5)


def _port_conflict(before: Callable[[Environment], None], ports: int = 1) -> Callable[[Environment], None]:
    """Prepare `before` on a droplet where the next `ports` allocated host ports are in use."""

    def prepare(env: Environment) -> None:
        before(env)
        env.droplet.port_conflicts = ports

    return prepare


OPERATIONS = {
    "deploy": Operation(_deploying(), _nothing),
    "deploy-pull": Operation(_deploying(PULLED), _nothing),
    "deploy-unstarted": Operation(_deploying(start=False), _nothing),
    "deploy-broken": Operation(_deploying(BROKEN), _nothing, fails=True),
    "deploy-taken": Operation(_deploying(), _port_conflict(_nothing, 2), fails=True),
    "deploy-all-taken": Operation(_deploying(), _port_conflict(_nothing, 99), fails=True),
    "start-taken": Operation(_changing(change.start), _port_conflict(_stopped), fails=True),
    "restart-taken": Operation(_changing(change.restart), _port_conflict(_running), fails=True),
    "start": Operation(_changing(change.start), _stopped),
    "stop": Operation(_changing(change.stop), _running),
    "restart": Operation(_changing(change.restart), _running),
    "delete": Operation(_changing(change.delete), _running),
    "update": Operation(_updating(SECOND), _running),
    "update-stopped": Operation(_updating(SECOND), _stopped),
    "update-pull": Operation(_updating(PULLED), _running),
    "update-mcp": Operation(_updating(SECOND, Mcp(3000, "/mcp")), _running),
    "update-broken": Operation(_updating(BROKEN), _running, fails=True),
    "update-taken": Operation(_updating(SECOND), _port_conflict(_running), fails=True),
    "update-broken-taken": Operation(_updating(BROKEN), _port_conflict(_running), fails=True),
    "suspend": Operation(_status_message(AccountStatus.SUSPENDED, 1), _running, takes_key=False, sent_again=True),
    "resume": Operation(_status_message(AccountStatus.ACTIVE, 2), _suspended, takes_key=False, sent_again=True),
    "rotate": Operation(_rotating, _running, takes_key=False, sent_again=True),
    "repair-removed": Operation(_sweeping, _removed_by_hand, takes_key=False),
    "repair-dead": Operation(_sweeping, _died, takes_key=False),
    "repair-taken": Operation(_sweeping, _port_conflict(_died), takes_key=False, fails=True),
    "repair-edited": Operation(_sweeping, _edited, takes_key=False),
    "delete-again": Operation(_sweeping, _back_after_delete, takes_key=False),
    "crash-loop": Operation(_sweeping, _crashing, takes_key=False),
}
