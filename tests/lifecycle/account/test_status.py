"""Account status from the backend takes effect, whatever is lost, late, duplicated or out of order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.domain.account.model import Account, AccountStatus
from functions.domain.errors import AccountNotActive, Unavailable
from functions.domain.instance.model import ACCOUNT_SUSPENDED, Instance
from functions.lifecycle.account import registries
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.admission import ACCOUNTS, account_ref
from functions.lifecycle.account.status import RECEIVED, AccountStatusChange
from functions.lifecycle.dependencies import Query, Snapshot, Write
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.repository import TOOLBOXES
from tests.fakes.store import ForwardingStore
from tests.fakes.stored import encode
from tests.fakes.world import ACCOUNT, CALLER, OTHER_CALLER, TOOLBOX, World, new

OTHER = "22222222-2222-4222-8222-222222222222"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def message(status: AccountStatus, minutes: int = 0, account: str = ACCOUNT, id: str = "") -> AccountStatusChange:
    return AccountStatusChange(id or f"msg_{status}_{minutes}", account, status, NOON + timedelta(minutes=minutes))


def suspend(world: World, minutes: int = 0) -> None:
    account_status.receive(world.deps, message(AccountStatus.SUSPENDED, minutes))
    world.deliver()
    world.deliver()


def resume(world: World, minutes: int = 1) -> None:
    account_status.receive(world.deps, message(AccountStatus.ACTIVE, minutes))
    world.deliver()
    world.deliver()


def stored_status(world: World, account: str = ACCOUNT) -> object:
    found = [document for document in world.documents(ACCOUNTS) if document["account"] == account]
    return found[0]["status"] if found else None


def get_instance(world: World, key: str) -> Instance:
    return instances.get(world.deps, CALLER, TOOLBOX, key)


def test_suspension_stops_instances_and_resumption_restores_their_state(world: World) -> None:
    running, stopped = world.deploy(new("running")), world.deploy(new("stopped"))
    world.stop("stopped")
    suspend(world)
    assert world.droplet.running() == []
    suspended = get_instance(world, "running")
    assert (suspended.status, suspended.desired.state) == ("stopped", "running")
    assert suspended.status_reason == ACCOUNT_SUSPENDED
    resume(world)
    assert world.droplet.running() == [get_instance(world, "running").container_name]
    assert [get_instance(world, key).status for key in ("running", "stopped")] == ["running", "stopped"]
    assert get_instance(world, "running").status_reason is None
    for instance in (running, stopped):
        events = [(event_type, before) for event_type, before, _ in world.events(instance)]
        assert ("suspend_requested", "running" if instance is running else "stopped") in events


def test_suspension_leaves_other_accounts_running(world: World) -> None:
    world.add_toolbox(OTHER, account=OTHER_CALLER.account)
    world.deploy()
    account_status.receive(world.deps, message(AccountStatus.SUSPENDED, account=OTHER_CALLER.account))
    world.deliver()
    world.deliver()
    assert len(world.droplet.running()) == 1
    assert [toolbox["id"] for toolbox in world.documents(TOOLBOXES) if toolbox["suspended"]] == [OTHER]


def test_resumption_restarts_interrupted_jobs_and_not_finished_ones(world: World) -> None:
    requests = [new("finished"), new("interrupted")]
    finished, interrupted = (world.deploy(replace(r, spec=replace(r.spec, restart_policy="no"))) for r in requests)
    world.droplet.die(finished.container_name, exit_code=0)
    world.sweep()
    suspend(world)
    resume(world)
    assert world.droplet.running() == [interrupted.container_name]


def test_suspended_account_may_only_stop_and_delete(world: World) -> None:
    world.deploy()
    suspend(world)
    request = InstanceRequest(CALLER, TOOLBOX, "server")
    for operation in (change.start, change.restart):
        with pytest.raises(AccountNotActive):
            operation(world.deps, request)
    with pytest.raises(AccountNotActive):
        update(world.deps, request, Changes(lambda spec: spec))
    with pytest.raises(AccountNotActive):
        world.deploy(new("another"))
    world.stop("server")
    resume(world)
    assert world.droplet.running() == []
    world.delete("server")
    assert world.documents()[0]["deleted_at"]


def test_deploy_during_a_suspension_is_stopped_by_the_next_sweep(world: World) -> None:
    """The deploy reads its toolbox before the suspension and writes its instance after all toolboxes were suspended."""

    def suspend_first(writes: Sequence[Write]) -> None:
        world.store.before_commit = lambda writes: None
        suspend(world)

    world.deploy(new("first"))
    world.store.before_commit = suspend_first
    second = world.deploy(new("second"))
    assert world.droplet.running() == [second.container_name]
    world.sweep()
    assert world.droplet.running() == []


def test_suspension_of_an_unreachable_toolbox_is_applied_later(world: World) -> None:
    world.deploy()
    world.droplet.reachable = False
    suspend(world)
    world.sweep()
    assert len(world.droplet.running()) == 1
    world.droplet.reachable = True
    world.sweep()
    assert world.droplet.running() == []


def test_container_started_by_hand_during_a_suspension_is_stopped(world: World) -> None:
    instance = world.deploy()
    suspend(world)
    world.droplet.containers[instance.container_name] = replace(
        world.droplet.containers[instance.container_name], state="running", endpoint_id="by hand"
    )
    world.sweep()
    assert world.droplet.running() == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1, 0)])
def test_newest_status_wins_in_any_order_of_arrival(world: World, order: tuple[int, ...]) -> None:
    messages = [message(AccountStatus.SUSPENDED, 0), message(AccountStatus.ACTIVE, 1)]
    world.deploy()
    for number in order:
        account_status.receive(world.deps, messages[number])
        world.deliver()
        world.deliver()
    assert stored_status(world) == "active"
    assert len(world.droplet.running()) == 1


def test_message_id_is_handled_once_even_with_another_status(world: World) -> None:
    account_status.receive(world.deps, message(AccountStatus.SUSPENDED, id="msg_1"))
    account_status.receive(world.deps, message(AccountStatus.ACTIVE, 5, id="msg_1"))
    assert stored_status(world) == "suspended"
    assert len(world.documents(RECEIVED)) == 1


def test_account_deletion_deprovisions_toolboxes_and_deletes_registries(world: World) -> None:
    world.add_toolbox(OTHER, account=OTHER_CALLER.account)
    world.deploy()
    for caller in (CALLER, OTHER_CALLER):
        registries.put(world.deps, caller, "registry.test", "user", "password")
    account_status.receive(world.deps, message(AccountStatus.DELETED))
    world.deliver()
    world.deliver()
    desired = {toolbox["id"]: toolbox["desired_state"] for toolbox in world.documents(TOOLBOXES)}
    assert desired == {TOOLBOX: "deprovisioned", OTHER: "provisioned"}
    assert [registry["account"] for registry in world.documents("registries")] == [OTHER_CALLER.account]
    events = world.store.query(Query(f"{TOOLBOXES}/{TOOLBOX}/events", order_by="time"))
    actors = {event.data["type"]: event.data["actor"] for event in events}
    assert actors["account_deleted"] == actors["deprovision_requested"] == "backend"


def test_deleted_account_cannot_be_resumed(world: World) -> None:
    account_status.receive(world.deps, message(AccountStatus.DELETED))
    account_status.receive(world.deps, message(AccountStatus.ACTIVE, 5))
    assert stored_status(world) == "deleted"


@pytest.mark.parametrize("down", ["queue", "commits"])
def test_status_is_applied_by_sweeps_after_a_worker_death(world: World, down: str) -> None:
    """The worker dies at its first publish or after its first commit; the sweep continues."""
    world.add_toolbox(OTHER)
    world.deploy()
    if down == "queue":
        world.queue.down = True
        account_status.receive(world.deps, message(AccountStatus.SUSPENDED))
        world.queue.down = False
    else:
        account_status.receive(world.deps, message(AccountStatus.SUSPENDED))

        def die(writes: Sequence[Write]) -> None:
            world.store.after_commit = lambda writes: None
            raise KeyboardInterrupt

        world.store.after_commit = die
        with pytest.raises(KeyboardInterrupt):
            world.deliver()
    for _ in range(3):
        world.sweep()
    assert world.droplet.running() == []
    assert {toolbox["suspended"] for toolbox in world.documents(TOOLBOXES)} == {True}
    assert [account["due_at"] for account in world.documents(ACCOUNTS)] == [None]


def test_message_repeated_after_a_lost_answer_is_recorded_once(world: World) -> None:
    def lose_answer(writes: Sequence[Write]) -> None:
        world.store.after_commit = lambda writes: None
        raise Unavailable("no answer")

    world.store.after_commit = lose_answer
    with pytest.raises(Unavailable):
        account_status.receive(world.deps, message(AccountStatus.SUSPENDED))
    account_status.receive(world.deps, message(AccountStatus.SUSPENDED))
    assert (stored_status(world), len(world.documents(RECEIVED))) == ("suspended", 1)


def test_status_change_while_the_last_one_is_applied_is_applied_too(world: World) -> None:
    world.deploy()
    account_status.receive(world.deps, message(AccountStatus.SUSPENDED))

    def receive_resumption(writes: Sequence[Write]) -> None:
        world.store.after_commit = lambda writes: None
        account_status.receive(world.deps, message(AccountStatus.ACTIVE, 1))

    world.store.after_commit = receive_resumption
    for _ in range(4):
        world.sweep()
    assert stored_status(world) == "active"
    assert len(world.droplet.running()) == 1


def test_worker_with_an_outdated_status_does_not_undo_a_newer_one(world: World) -> None:
    """The worker read the suspension; before it suspends a toolbox, another worker applies the resumption."""
    world.deploy()
    account_status.receive(world.deps, message(AccountStatus.SUSPENDED))

    class ResumptionBeforeQuery(ForwardingStore):
        def query(self, query: Query) -> list[Snapshot]:
            if stored_status(world) == "suspended":
                account_status.receive(world.deps, message(AccountStatus.ACTIVE, 1))
                account_status.apply(world.deps, account_ref(ACCOUNT).id)
            return super().query(query)

    outdated_worker = replace(world.deps, store=ResumptionBeforeQuery(world.store))
    account_status.apply(outdated_worker, account_ref(ACCOUNT).id)
    assert stored_status(world) == "active"
    for _ in range(3):
        world.sweep()
    assert [toolbox["suspended"] for toolbox in world.documents(TOOLBOXES)] == [False]
    assert len(world.droplet.running()) == 1


def test_account_with_any_characters_in_its_name_is_stored(world: World) -> None:
    for name in ("../x", "a/b", "..", "__all__", "é" * 255):
        account_status.receive(world.deps, message(AccountStatus.SUSPENDED, account=name, id=f"msg {name}"))
        assert stored_status(world, name) == "suspended"
    assert encode(Account("a"))["status"] == "active"
