"""What the backend says of an account is made so, whatever is lost, late, doubled or out of order."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from functions.domain.account.limits import Limits
from functions.domain.account.model import Account, AccountStatus
from functions.domain.errors import AccountNotActive, Conflict, QuotaExceeded, Unavailable
from functions.domain.instance.model import Instance
from functions.lifecycle.account import registries
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.admission import ACCOUNTS, account_ref, admit_toolbox
from functions.lifecycle.account.status import RECEIVED, AccountStatusChange
from functions.lifecycle.dependencies import Create, Query, Snapshot, Write
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.repository import TOOLBOXES, encode, toolbox_ref
from functions.web.records import instance_record
from tests.fakes.world import ACCOUNT, CALLER, STRANGER, TOOLBOX, World, new

OTHER = "22222222-2222-4222-8222-222222222222"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def word(standing: AccountStatus, minutes: int = 0, account: str = ACCOUNT, id: str = "") -> AccountStatusChange:
    return AccountStatusChange(id or f"msg_{standing}_{minutes}", account, standing, NOON + timedelta(minutes=minutes))


def suspend(world: World, minutes: int = 0) -> None:
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED, minutes))
    world.deliver()
    world.deliver()


def resume(world: World, minutes: int = 1) -> None:
    account_status.receive(world.deps, word(AccountStatus.ACTIVE, minutes))
    world.deliver()
    world.deliver()


def standing(world: World, account: str = ACCOUNT) -> object:
    found = [one for one in world.documents(ACCOUNTS) if one["account"] == account]
    return found[0]["status"] if found else None


def shown(world: World, key: str) -> Instance:
    return instances.get(world.deps, CALLER, TOOLBOX, key)


def test_a_suspension_stops_all_instances_and_a_resumption_has_them_as_before(world: World) -> None:
    running, stopped = world.deploy(new("running")), world.deploy(new("stopped"))
    world.stop("stopped")
    suspend(world)
    assert world.droplet.running() == []
    held = shown(world, "running")
    assert (held.status, held.desired.state) == ("stopped", "running")
    assert instance_record(held)["status_reason"]["code"] == "account-suspended"  # type: ignore[index]
    resume(world)
    assert world.droplet.running() == [shown(world, "running").container_name]
    assert [shown(world, key).status for key in ("running", "stopped")] == ["running", "stopped"]
    assert instance_record(shown(world, "running"))["status_reason"] is None
    for instance in (running, stopped):
        told = [(kind, before) for kind, before, _ in world.events(instance) if str(kind).endswith("_requested")]
        assert ("suspend_requested", "running" if instance is running else "stopped") in told


def test_another_accounts_instances_run_on(world: World) -> None:
    world.add_toolbox(OTHER, account=STRANGER.account)
    world.deploy()
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED, account=STRANGER.account))
    world.deliver()
    world.deliver()
    assert len(world.droplet.running()) == 1
    assert [box["id"] for box in world.documents(TOOLBOXES) if box["suspended"]] == [OTHER]


def test_a_job_that_had_ended_is_not_run_again_and_one_that_was_stopped_by_the_suspension_is(world: World) -> None:
    wanted = [new("ended"), new("going")]
    ended, going = (world.deploy(replace(w, spec=replace(w.spec, restart_policy="no"))) for w in wanted)
    world.droplet.die(ended.container_name, exit_code=0)
    world.sweep()
    suspend(world)
    resume(world)
    assert world.droplet.running() == [going.container_name]


def test_what_is_asked_of_a_suspended_account_is_refused_but_for_stop_and_delete(world: World) -> None:
    world.deploy()
    suspend(world)
    asked = InstanceRequest(CALLER, TOOLBOX, "server")
    for verb in (change.start, change.restart):
        with pytest.raises(AccountNotActive):
            verb(world.deps, asked)
    with pytest.raises(AccountNotActive):
        update(world.deps, asked, Changes(lambda spec: spec))
    with pytest.raises(AccountNotActive):
        world.deploy(new("another"))
    world.stop("server")
    resume(world)
    assert world.droplet.running() == []
    world.delete("server")
    assert world.documents()[0]["deleted_at"]


def test_a_deploy_that_a_suspension_overtakes_is_stopped_by_the_next_look(world: World) -> None:
    """It has read its toolbox before the account was suspended, and writes its instance after all were told."""

    def overtaken(writes: Sequence[Write]) -> None:
        world.store.before_commit = lambda writes: None
        suspend(world)

    world.deploy(new("first"))
    world.store.before_commit = overtaken
    second = world.deploy(new("second"))
    assert world.droplet.running() == [second.container_name]
    world.sweep()
    assert world.droplet.running() == []


def test_a_toolbox_that_cannot_be_reached_is_stopped_when_it_can_be(world: World) -> None:
    world.deploy()
    world.droplet.reachable = False
    suspend(world)
    world.sweep()
    assert len(world.droplet.running()) == 1
    world.droplet.reachable = True
    world.sweep()
    assert world.droplet.running() == []


def test_what_a_hand_starts_during_a_suspension_is_stopped_again(world: World) -> None:
    instance = world.deploy()
    suspend(world)
    world.droplet.containers[instance.container_name] = replace(
        world.droplet.containers[instance.container_name], state="running", endpoint_id="by hand"
    )
    world.sweep()
    assert world.droplet.running() == []


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0), (1, 0, 1, 0)])
def test_the_newest_fact_holds_in_whatever_order_they_come(world: World, order: tuple[int, ...]) -> None:
    said = [word(AccountStatus.SUSPENDED, 0), word(AccountStatus.ACTIVE, 1)]
    world.deploy()
    for number in order:
        account_status.receive(world.deps, said[number])
        world.deliver()
        world.deliver()
    assert standing(world) == "active"
    assert len(world.droplet.running()) == 1


def test_an_id_is_handled_once_even_with_another_word_in_it(world: World) -> None:
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED, id="msg_1"))
    account_status.receive(world.deps, word(AccountStatus.ACTIVE, 5, id="msg_1"))
    assert standing(world) == "suspended"
    assert len(world.documents(RECEIVED)) == 1


def test_a_deleted_accounts_toolboxes_are_deprovisioned_and_its_registries_forgotten(world: World) -> None:
    world.add_toolbox(OTHER, account=STRANGER.account)
    world.deploy()
    for caller in (CALLER, STRANGER):
        registries.put(world.deps, caller, "registry.test", "user", "password")
    account_status.receive(world.deps, word(AccountStatus.DELETED))
    world.deliver()
    world.deliver()
    wanted = {box["id"]: box["desired_state"] for box in world.documents(TOOLBOXES)}
    assert wanted == {TOOLBOX: "deprovisioned", OTHER: "provisioned"}
    assert [one["account"] for one in world.documents("registries")] == [STRANGER.account]
    told = world.store.query(Query(f"{TOOLBOXES}/{TOOLBOX}/events", order_by="time"))
    actors = {event.data["type"]: event.data["actor"] for event in told}
    assert actors["account_deleted"] == actors["deprovision_requested"] == "backend"


def test_a_deleted_account_stays_deleted(world: World) -> None:
    account_status.receive(world.deps, word(AccountStatus.DELETED))
    account_status.receive(world.deps, word(AccountStatus.ACTIVE, 5))
    assert standing(world) == "deleted"


@pytest.mark.parametrize("down", ["queue", "commits"])
def test_a_crash_after_it_is_on_record_loses_nothing(world: World, down: str) -> None:
    """The worker dies at its first publish, or after its first commit; the sweep goes on from there."""
    world.add_toolbox(OTHER)
    world.deploy()
    if down == "queue":
        world.queue.down = True
        account_status.receive(world.deps, word(AccountStatus.SUSPENDED))
        world.queue.down = False
    else:
        account_status.receive(world.deps, word(AccountStatus.SUSPENDED))

        def dies(writes: Sequence[Write]) -> None:
            world.store.after_commit = lambda writes: None
            raise Unavailable("killed")

        world.store.after_commit = dies
        with pytest.raises(Unavailable):
            world.deliver()
    for _ in range(3):
        world.sweep()
    assert world.droplet.running() == []
    assert {box["suspended"] for box in world.documents(TOOLBOXES)} == {True}
    assert [one["due_at"] for one in world.documents(ACCOUNTS)] == [None]


def test_an_answer_of_the_store_that_is_lost_is_asked_for_again_by_the_sender(world: World) -> None:
    def lost(writes: Sequence[Write]) -> None:
        world.store.after_commit = lambda writes: None
        raise Unavailable("no answer")

    world.store.after_commit = lost
    with pytest.raises(Unavailable):
        account_status.receive(world.deps, word(AccountStatus.SUSPENDED))
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED))
    assert (standing(world), len(world.documents(RECEIVED))) == ("suspended", 1)


def test_further_word_while_toolboxes_are_told_leaves_it_due(world: World) -> None:
    world.deploy()
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED))

    def overtaken(writes: Sequence[Write]) -> None:
        world.store.after_commit = lambda writes: None
        account_status.receive(world.deps, word(AccountStatus.ACTIVE, 1))

    world.store.after_commit = overtaken
    for _ in range(4):
        world.sweep()
    assert standing(world) == "active"
    assert len(world.droplet.running()) == 1


def test_a_worker_that_knew_less_undoes_nothing(world: World) -> None:
    """It has read that the account is suspended; before it tells anybody, another worker has told of the resumption."""
    world.deploy()
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED))
    queries = world.store.query

    def overtaken(query: Query) -> list[Snapshot]:
        world.store.query = queries
        account_status.receive(world.deps, word(AccountStatus.ACTIVE, 1))
        account_status.apply(world.deps, account_ref(ACCOUNT).id)
        return queries(query)

    world.store.query = overtaken
    account_status.apply(world.deps, account_ref(ACCOUNT).id)
    for _ in range(3):
        world.sweep()
    assert [box["suspended"] for box in world.documents(TOOLBOXES)] == [False]
    assert len(world.droplet.running()) == 1


# A new toolbox.


def add(world: World, toolbox_id: str) -> None:
    """As provisioning does: in one commit with its admission."""
    admitted = admit_toolbox(world.deps, ACCOUNT)
    [found] = world.store.query(Query(TOOLBOXES, (("id", "==", TOOLBOX),)))
    world.store.commit([Create(toolbox_ref(toolbox_id), {**found.data, "id": toolbox_id}), admitted])


def test_an_account_has_so_many_toolboxes_and_no_more(world: World) -> None:
    world.deps = replace(world.deps, limits=Limits(toolboxes=2))
    add(world, OTHER)
    with pytest.raises(QuotaExceeded, match="the account has 2 toolboxes, and may have no more"):
        admit_toolbox(world.deps, ACCOUNT)
    admit_toolbox(world.deps, STRANGER.account)


def test_of_two_toolboxes_made_at_once_on_one_count_one_is_refused(world: World) -> None:
    first, second = admit_toolbox(world.deps, ACCOUNT), admit_toolbox(world.deps, ACCOUNT)
    world.store.commit([first])
    with pytest.raises(Conflict):
        world.store.commit([second])
    third, fourth = admit_toolbox(world.deps, ACCOUNT), admit_toolbox(world.deps, ACCOUNT)
    world.store.commit([third])
    with pytest.raises(Conflict):
        world.store.commit([fourth])


def test_no_toolbox_is_made_past_a_suspension(world: World) -> None:
    early = admit_toolbox(world.deps, ACCOUNT)
    account_status.receive(world.deps, word(AccountStatus.SUSPENDED))
    with pytest.raises(Conflict):
        world.store.commit([early])
    with pytest.raises(AccountNotActive, match="the account is suspended"):
        admit_toolbox(world.deps, ACCOUNT)


def test_an_account_is_kept_under_a_hash_whatever_it_is_called(world: World) -> None:
    for name in ("../x", "a/b", "..", "__all__", "é" * 255):
        account_status.receive(world.deps, word(AccountStatus.SUSPENDED, account=name, id=f"msg {name}"))
        assert standing(world, name) == "suspended"
    assert encode(Account("a"))["status"] == "active"
