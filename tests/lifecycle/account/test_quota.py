"""Quotas of instances and of memory, for each account, across all its toolboxes."""

from dataclasses import replace

import pytest

from functions.domain.account.model import Limits
from functions.domain.errors import QuotaExceeded
from functions.domain.instance.spec import ResourceLimits
from functions.lifecycle.instance.change import Changes, InstanceRequest, update
from functions.lifecycle.instance.deploy import NewInstance, deploy
from tests.fakes.world import CALLER, OTHER_CALLER, TOOLBOX, World, new

OTHER_TOOLBOX = "22222222-2222-4222-8222-222222222222"


def set_limits(world: World, limits: Limits) -> None:
    world.deps = replace(world.deps, limits=limits)


def with_memory(name: str, memory: str) -> NewInstance:
    wanted = new(name)
    return replace(wanted, spec=replace(wanted.spec, limits=ResourceLimits(memory=memory)))


def test_deploy_beyond_the_instance_quota_is_refused(world: World) -> None:
    set_limits(world, Limits(instances=2))
    world.add_toolbox(OTHER_TOOLBOX)
    world.deploy(new("first"))
    deploy(world.deps, CALLER, OTHER_TOOLBOX, new("second"))
    with pytest.raises(QuotaExceeded, match="The account has 2 instances, and its quota is 2"):
        world.deploy(new("third"))
    world.delete("first")
    world.deploy(new("third"))


def test_deploy_beyond_the_memory_quota_is_refused(world: World) -> None:
    set_limits(world, Limits(memory_mib=1024))
    world.deploy(with_memory("first", "768m"))
    with pytest.raises(QuotaExceeded, match="512 MiB more requested, 256 MiB left"):
        world.deploy(with_memory("second", "512m"))
    world.stop("first")
    with pytest.raises(QuotaExceeded):
        world.deploy(with_memory("second", "512m"))
    assert world.deploy(with_memory("second", "256m")).settled


def test_instances_of_other_accounts_do_not_count(world: World) -> None:
    set_limits(world, Limits(instances=1))
    world.add_toolbox(OTHER_TOOLBOX, account=OTHER_CALLER.account)
    world.deploy()
    deploy(world.deps, OTHER_CALLER, OTHER_TOOLBOX, new())


def test_update_may_use_the_remaining_quota_and_may_always_shrink(world: World) -> None:
    set_limits(world, Limits(memory_mib=1024))
    world.deploy(with_memory("server", "512m"))

    def set_memory(memory: str) -> None:
        changes = Changes(lambda spec: replace(spec, limits=ResourceLimits(memory=memory)))
        update(world.deps, InstanceRequest(CALLER, TOOLBOX, "server"), changes)
        world.sweep()

    set_memory("1024m")
    with pytest.raises(QuotaExceeded, match="1 MiB more requested, 0 MiB left"):
        set_memory("1025m")
    set_limits(world, Limits(memory_mib=1))
    set_memory("16m")
