"""The operations that are cut: what stands before each, and what the worker does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functions.adapters.queue_sqlite import SqliteQueue
from functions.domain.account import Standing
from functions.domain.instance import Instance
from functions.domain.spec import Mcp
from functions.lifecycle import accounts, change, converge, instances, rotations, sweep, toolbox_converge
from functions.lifecycle.accounts import Word
from functions.lifecycle.change import Answer, Asked
from functions.lifecycle.deploy import deploy
from functions.lifecycle.ports import Ports, Task
from functions.lifecycle.replay import Replay
from functions.lifecycle.rotations import Rotated
from functions.lifecycle.update import Changes, update
from shim.contract import messages
from tests.fakes.droplet import IMAGE
from tests.fakes.world import ACCOUNT, CALLER, TOOLBOX, new

if TYPE_CHECKING:
    from tests.faults.place import Place

NAME = "server"
SECOND, PULLED, BROKEN = "registry.test/server:2", "registry.test/pulled:1", "registry.test/broken:1"

# Host ports that nobody asks for by their number here.
DRAWN = range(20_010, 30_000)

Ask = Callable[[Ports, Replay[Instance] | None], Answer | None]


@dataclass(frozen=True)
class Operation:
    """`ask` is the account's request, or the scheduler's call; what it publishes is delivered to the same worker.

    `fails`: what was tried in vain may be tried once more by the next worker, so only its end is compared.
    `sent_again`: who has heard no answer sends it until there is one.
    """

    ask: Ask
    before: Callable[[Place], None]
    takes_key: bool = True
    fails: bool = False
    sent_again: bool = False

    def run(self, ports: Ports, queue: SqliteQueue, keyed: bool) -> None:
        self.ask(ports, replay() if keyed else None)
        deliver(ports, queue)


def replay() -> Replay[Instance]:
    def render(instance: Instance) -> tuple[int, dict[str, Any]]:
        return 200, {"status": instance.status.value, "generation": instance.desired.generation}

    return Replay(ACCOUNT, "key-1", "fingerprint", render)


def deliver(ports: Ports, queue: SqliteQueue) -> None:
    """Every message that is due goes to `converge`, as its push endpoint takes it."""

    def push(envelope: dict[str, Any]) -> bool:
        task = Task(**json.loads(base64.b64decode(envelope["message"]["data"])))
        match task.kind:
            case "toolbox":
                toolbox_converge.run(ports, task.id)
            case "account":
                accounts.run(ports, task.id)
            case "rotation":
                rotations.run(ports, task.id)
            case _:
                converge.run(ports, task)
        return True

    queue.deliver(push, ports.now)


def _deploying(image: str = IMAGE, *, start: bool = True) -> Ask:
    wanted = new(NAME, image=image, ports=(0, 20_001), start=start)
    return lambda ports, key: deploy(ports, CALLER, TOOLBOX, wanted, key)


def _changing(verb: Callable[[Ports, Asked], Answer]) -> Ask:
    return lambda ports, key: verb(ports, Asked(CALLER, TOOLBOX, NAME, key))


def _updating(image: str, mcp: Mcp | None = None) -> Ask:
    """Another image, one host port dropped and another one taken."""
    changes = Changes(
        lambda old: replace(old, image=image, mcp=mcp), [messages.Port(3000, 0), messages.Port(4000, 20_002)]
    )
    return lambda ports, key: update(ports, Asked(CALLER, TOOLBOX, NAME, key), changes)


def _sweeping(ports: Ports, key: Replay[Instance] | None) -> None:
    ports.pause(60)
    sweep.sweep(ports)


def _hearing(standing: Standing, day: int) -> Ask:
    """The backend's word of the account."""
    word = Word(f"msg_{day}", ACCOUNT, standing, datetime(2026, 1, day, tzinfo=UTC))
    return lambda ports, key: accounts.hear(ports, word)


def _rotating(ports: Ports, key: Replay[Instance] | None) -> None:
    [instance] = instances.page(ports, CALLER, TOOLBOX, 1, None)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    rotations.hear(ports, Rotated("msg_1", ACCOUNT, instance.id, at, {"API_KEY": "new"}))


def _nothing(place: Place) -> None:
    """A toolbox without instances."""


def _running(place: Place) -> None:
    OPERATIONS["deploy"].run(place.ports, place.queue, False)
    place.sweep(60)


def _stopped(place: Place) -> None:
    _running(place)
    OPERATIONS["stop"].run(place.ports, place.queue, False)
    place.sweep(60)


def _suspended(place: Place) -> None:
    _running(place)
    OPERATIONS["suspend"].run(place.ports, place.queue, False)
    place.sweep(60)


def _removed_by_hand(place: Place) -> None:
    _running(place)
    place.droplet.containers.clear()


def _edited(place: Place) -> None:
    _running(place)
    [container] = place.droplet.containers.values()
    limits = replace(container.limits, pids=9)
    place.droplet.containers[container.name] = replace(container, limits=limits, endpoint_id="edited")


def _back_after_delete(place: Place) -> None:
    """A create that reached the engine when all was over."""
    _running(place)
    [container] = place.droplet.containers.values()
    OPERATIONS["delete"].run(place.ports, place.queue, False)
    place.sweep(60)
    place.droplet.containers[container.name] = container


def _died(place: Place) -> None:
    _running(place)
    [name] = place.droplet.containers
    place.droplet.die(name, exit_code=3)


def _crashing(place: Place) -> None:
    _running(place)
    [name] = place.droplet.containers
    place.droplet.crash(name, restarts=5)


def _keeping(before: Callable[[Place], None], ports: int = 1) -> Callable[[Place], None]:
    """What stands on a droplet whose engine keeps `ports` of those that it is given next."""

    def stand(place: Place) -> None:
        before(place)
        place.droplet.keeps = ports

    return stand


OPERATIONS = {
    "deploy": Operation(_deploying(), _nothing),
    "deploy-pull": Operation(_deploying(PULLED), _nothing),
    "deploy-unstarted": Operation(_deploying(start=False), _nothing),
    "deploy-broken": Operation(_deploying(BROKEN), _nothing, fails=True),
    "deploy-taken": Operation(_deploying(), _keeping(_nothing, 2), fails=True),
    "deploy-all-taken": Operation(_deploying(), _keeping(_nothing, 99), fails=True),
    "start-taken": Operation(_changing(change.start), _keeping(_stopped), fails=True),
    "restart-taken": Operation(_changing(change.restart), _keeping(_running), fails=True),
    "start": Operation(_changing(change.start), _stopped),
    "stop": Operation(_changing(change.stop), _running),
    "restart": Operation(_changing(change.restart), _running),
    "delete": Operation(_changing(change.delete), _running),
    "update": Operation(_updating(SECOND), _running),
    "update-stopped": Operation(_updating(SECOND), _stopped),
    "update-pull": Operation(_updating(PULLED), _running),
    "update-mcp": Operation(_updating(SECOND, Mcp(3000, "/mcp")), _running),
    "update-broken": Operation(_updating(BROKEN), _running, fails=True),
    "update-taken": Operation(_updating(SECOND), _keeping(_running), fails=True),
    "update-broken-taken": Operation(_updating(BROKEN), _keeping(_running), fails=True),
    "suspend": Operation(_hearing(Standing.SUSPENDED, 1), _running, takes_key=False, sent_again=True),
    "resume": Operation(_hearing(Standing.ACTIVE, 2), _suspended, takes_key=False, sent_again=True),
    "rotate": Operation(_rotating, _running, takes_key=False, sent_again=True),
    "repair-removed": Operation(_sweeping, _removed_by_hand, takes_key=False),
    "repair-dead": Operation(_sweeping, _died, takes_key=False),
    "repair-taken": Operation(_sweeping, _keeping(_died), takes_key=False, fails=True),
    "repair-edited": Operation(_sweeping, _edited, takes_key=False),
    "delete-again": Operation(_sweeping, _back_after_delete, takes_key=False),
    "crash-loop": Operation(_sweeping, _crashing, takes_key=False),
}
