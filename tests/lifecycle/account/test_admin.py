"""An admin sees and changes every account's things, and the events say that it was the admin."""

from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.repository import INSTANCES
from functions.lifecycle.toolbox import read as toolboxes
from tests.fakes.world import ACCOUNT, ADMIN, CALLER, STRANGER, TOOLBOX, World, new

OTHER = "22222222-2222-4222-8222-222222222222"


def test_an_admin_lists_the_toolboxes_of_all_accounts(world: World) -> None:
    world.add_toolbox(OTHER, account=STRANGER.account)
    assert {one.id for one in toolboxes.page(world.deps, ADMIN, 10, None)} == {TOOLBOX, OTHER}
    assert [one.id for one in toolboxes.page(world.deps, STRANGER, 10, None)] == [OTHER]


def test_what_an_admin_deploys_on_an_accounts_toolbox_is_the_accounts(world: World) -> None:
    deploy(world.deps, ADMIN, TOOLBOX, new())
    assert instances.get(world.deps, CALLER, TOOLBOX, "server").account == ACCOUNT


def test_every_act_of_an_admin_is_an_event_with_its_subject(world: World) -> None:
    deployed = world.deploy()
    asked = InstanceRequest(ADMIN, TOOLBOX, "server")
    for verb in (change.stop, change.start, change.restart):
        verb(world.deps, asked)
    update(world.deps, asked, Changes(lambda spec: spec))
    change.delete(world.deps, asked)
    found = world.store.query(Query(f"{INSTANCES}/{deployed.id}/events", order_by="time"))
    told = [(e.data["type"], e.data["actor"]) for e in found if e.data["type"].endswith("_requested")]
    assert told == [
        ("deploy_requested", ACCOUNT),
        *((f"{verb}_requested", ADMIN.subject) for verb in ("stop", "start", "restart", "update", "delete")),
    ]
