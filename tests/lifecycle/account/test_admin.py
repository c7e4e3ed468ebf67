"""An admin sees and changes the toolboxes and instances of every account, and events name the admin as the actor."""

from functions.lifecycle.dependencies import Query
from functions.lifecycle.instance import change
from functions.lifecycle.instance import read as instances
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import deploy
from functions.lifecycle.repository import INSTANCES
from functions.lifecycle.toolbox import read as toolboxes
from tests.fakes.world import ACCOUNT, ADMIN, CALLER, OTHER_CALLER, TOOLBOX, World, new

OTHER_TOOLBOX = "22222222-2222-4222-8222-222222222222"


def test_admin_lists_the_toolboxes_of_all_accounts(world: World) -> None:
    world.add_toolbox(OTHER_TOOLBOX, account=OTHER_CALLER.account)
    assert {toolbox.id for toolbox in toolboxes.page(world.deps, ADMIN, 10, None).records} == {TOOLBOX, OTHER_TOOLBOX}
    assert [toolbox.id for toolbox in toolboxes.page(world.deps, OTHER_CALLER, 10, None).records] == [OTHER_TOOLBOX]


def test_instance_deployed_by_an_admin_belongs_to_the_toolboxs_account(world: World) -> None:
    deploy(world.deps, ADMIN, TOOLBOX, new())
    assert instances.get(world.deps, CALLER, TOOLBOX, "server").account == ACCOUNT


def test_events_name_the_admin_as_actor(world: World) -> None:
    deployed = world.deploy()
    request = InstanceRequest(ADMIN, TOOLBOX, "server")
    for operation in (change.stop, change.start, change.restart):
        operation(world.deps, request)
    update(world.deps, request, Changes(lambda spec: spec))
    change.delete(world.deps, request)
    events = world.store.query(Query(f"{INSTANCES}/{deployed.id}/events", order_by="time"))
    actors = [(event.data["type"], event.data["actor"]) for event in events]
    assert [(kind, actor) for kind, actor in actors if kind.endswith("_requested")] == [
        ("deploy_requested", ACCOUNT),
        *((f"{verb}_requested", ADMIN.subject) for verb in ("stop", "start", "restart", "update", "delete")),
    ]
