"""An admin sees and changes every account's things, and the events say that it was the admin."""

from functions.lifecycle import change, instances, toolboxes
from functions.lifecycle.change import Asked
from functions.lifecycle.deploy import deploy
from functions.lifecycle.documents import INSTANCES
from functions.lifecycle.ports import Query
from functions.lifecycle.update import Changes, update
from tests.fakes.world import ACCOUNT, ADMIN, CALLER, STRANGER, TOOLBOX, World, new

OTHER = "22222222-2222-4222-8222-222222222222"


def test_an_admin_lists_the_toolboxes_of_all_accounts(world: World) -> None:
    world.add_toolbox(OTHER, account=STRANGER.account)
    assert {one.id for one in toolboxes.page(world.ports, ADMIN, 10, None)} == {TOOLBOX, OTHER}
    assert [one.id for one in toolboxes.page(world.ports, STRANGER, 10, None)] == [OTHER]


def test_what_an_admin_deploys_on_an_accounts_toolbox_is_the_accounts(world: World) -> None:
    deploy(world.ports, ADMIN, TOOLBOX, new())
    assert instances.get(world.ports, CALLER, TOOLBOX, "server").account == ACCOUNT


def test_every_act_of_an_admin_is_an_event_with_its_subject(world: World) -> None:
    deployed = world.deploy()
    asked = Asked(ADMIN, TOOLBOX, "server")
    for verb in (change.stop, change.start, change.restart):
        verb(world.ports, asked)
    update(world.ports, asked, Changes(lambda spec: spec))
    change.delete(world.ports, asked)
    found = world.store.query(Query(f"{INSTANCES}/{deployed.id}/events", order_by="time"))
    told = [(e.data["type"], e.data["actor"]) for e in found if e.data["type"].endswith("_requested")]
    assert told == [
        ("deploy_requested", ACCOUNT),
        *((f"{verb}_requested", ADMIN.subject) for verb in ("stop", "start", "restart", "update", "delete")),
    ]
