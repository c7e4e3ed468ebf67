"""How many instances and how much memory an account may have, over all its toolboxes."""

from dataclasses import replace

import pytest

from functions.domain.account.limits import Limits
from functions.domain.errors import QuotaExceeded
from functions.domain.instance.spec import ResourceLimits
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import NewInstance, deploy
from tests.fakes.world import CALLER, STRANGER, TOOLBOX, World, new

OTHER = "22222222-2222-4222-8222-222222222222"


def limited(world: World, limits: Limits) -> None:
    world.deps = replace(world.deps, limits=limits)


def sized(name: str, memory: str) -> NewInstance:
    wanted = new(name)
    return replace(wanted, spec=replace(wanted.spec, limits=ResourceLimits(memory=memory)))


def test_an_account_has_so_many_instances_and_no_more(world: World) -> None:
    limited(world, Limits(instances=2))
    world.add_toolbox(OTHER)
    world.deploy(new("first"))
    deploy(world.deps, CALLER, OTHER, new("second"))
    with pytest.raises(QuotaExceeded, match="the account has 2 instances, and may have no more"):
        world.deploy(new("third"))
    world.delete("first")
    world.deploy(new("third"))


def test_the_memory_of_all_its_instances_is_limited(world: World) -> None:
    limited(world, Limits(memory_mib=1024))
    world.deploy(sized("first", "768m"))
    with pytest.raises(QuotaExceeded, match="512 MiB of memory more are asked for and 256 MiB are left"):
        world.deploy(sized("second", "512m"))
    world.stop("first")
    with pytest.raises(QuotaExceeded):
        world.deploy(sized("second", "512m"))
    assert world.deploy(sized("second", "256m")).settled


def test_another_accounts_are_not_counted(world: World) -> None:
    limited(world, Limits(instances=1))
    world.add_toolbox(OTHER, account=STRANGER.account)
    world.deploy()
    deploy(world.deps, STRANGER, OTHER, new())


def test_an_update_may_take_what_is_left_and_always_less(world: World) -> None:
    limited(world, Limits(memory_mib=1024))
    world.deploy(sized("server", "512m"))

    def resized(memory: str) -> None:
        changes = Changes(lambda spec: replace(spec, limits=ResourceLimits(memory=memory)))
        update(world.deps, InstanceRequest(CALLER, TOOLBOX, "server"), changes)
        world.sweep()

    resized("1024m")
    with pytest.raises(QuotaExceeded, match="1 MiB of memory more are asked for and 0 MiB are left"):
        resized("1025m")
    limited(world, Limits(memory_mib=1))
    resized("16m")
