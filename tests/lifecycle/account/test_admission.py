"""Whether an account may have another toolbox: its quota and its status, checked in the commit that stores it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from functions.domain.account.model import AccountStatus, Limits
from functions.domain.errors import AccountNotActive, Conflict, QuotaExceeded
from functions.lifecycle.account import status as account_status
from functions.lifecycle.account.admission import admit_toolbox
from functions.lifecycle.account.status import AccountStatusChange
from functions.lifecycle.dependencies import Create, Query
from functions.lifecycle.repository import TOOLBOXES, toolbox_ref
from tests.fakes.world import ACCOUNT, OTHER_CALLER, TOOLBOX, World

OTHER = "22222222-2222-4222-8222-222222222222"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def add_toolbox(world: World, toolbox_id: str) -> None:
    """Store a toolbox in one commit with its admission, as provisioning does."""
    admission = admit_toolbox(world.deps, ACCOUNT)
    [snapshot] = world.store.query(Query(TOOLBOXES, (("id", "==", TOOLBOX),)))
    world.store.commit([Create(toolbox_ref(toolbox_id), {**snapshot.data, "id": toolbox_id}), admission])


def test_toolbox_beyond_the_quota_is_refused(world: World) -> None:
    world.deps = replace(world.deps, limits=Limits(toolboxes=2))
    add_toolbox(world, OTHER)
    with pytest.raises(QuotaExceeded, match="The account has 2 toolboxes, which is its quota"):
        admit_toolbox(world.deps, ACCOUNT)
    admit_toolbox(world.deps, OTHER_CALLER.account)


def test_one_of_two_concurrent_toolboxes_is_refused(world: World) -> None:
    first, second = admit_toolbox(world.deps, ACCOUNT), admit_toolbox(world.deps, ACCOUNT)
    world.store.commit([first])
    with pytest.raises(Conflict):
        world.store.commit([second])
    third, fourth = admit_toolbox(world.deps, ACCOUNT), admit_toolbox(world.deps, ACCOUNT)
    world.store.commit([third])
    with pytest.raises(Conflict):
        world.store.commit([fourth])


def test_suspension_refuses_an_admission_that_is_not_committed(world: World) -> None:
    admission = admit_toolbox(world.deps, ACCOUNT)
    account_status.receive(world.deps, AccountStatusChange("msg_1", ACCOUNT, AccountStatus.SUSPENDED, NOON))
    with pytest.raises(Conflict):
        world.store.commit([admission])
    with pytest.raises(AccountNotActive, match="The account is suspended"):
        admit_toolbox(world.deps, ACCOUNT)
