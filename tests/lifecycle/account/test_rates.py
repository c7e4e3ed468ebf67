"""How often an account may ask, in one process and over several."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from functions.domain.account.limits import Limits, Rate
from functions.domain.errors import TooManyRequests
from functions.lifecycle.account.rates import RATES, AccountRates, Rates
from functions.lifecycle.dependencies import Dependencies, Write
from tests.fakes.world import World

LIMITS = Limits(requests_at_once=40, requests_a_minute=60)
# A process's own quarter, and a tenth of the whole at a time.
OWN, LOT = 10, 4


@pytest.fixture
def deps(world: World) -> Dependencies:
    return replace(world.deps, limits=LIMITS)


def granted(rates: AccountRates, asked: int, account: str = "a") -> int:
    for count in range(asked):
        try:
            rates.take(account)
        except TooManyRequests:
            return count
    return asked


def test_a_burst_is_refused_until_some_time_has_passed(world: World, deps: Dependencies) -> None:
    rates = AccountRates(deps)
    assert granted(rates, 100) == OWN + LIMITS.requests_at_once
    with pytest.raises(TooManyRequests) as refused:
        rates.take("a")
    world.pass_time(refused.value.retry_after)
    assert granted(rates, 100) >= 1


def test_one_accounts_burst_costs_another_nothing(deps: Dependencies) -> None:
    rates = AccountRates(deps)
    granted(rates, 100)
    assert granted(rates, OWN, "b") == OWN


def test_who_asks_little_has_no_document(world: World, deps: Dependencies) -> None:
    assert granted(AccountRates(deps), OWN) == OWN
    assert world.documents(RATES) == []


def test_processes_share_what_is_beyond_their_own_part(deps: Dependencies) -> None:
    processes = [AccountRates(deps) for _ in range(5)]
    assert sum(granted(one, 100) for one in processes) == 5 * OWN + LIMITS.requests_at_once


def test_the_document_is_written_once_a_lot_and_not_by_who_is_refused(world: World, deps: Dependencies) -> None:
    rates, written = AccountRates(deps), 0

    def count(writes: Sequence[Write]) -> None:
        nonlocal written
        written += len(writes)

    world.store.before_commit = count
    granted(rates, 1000)
    for _ in range(1000):
        with pytest.raises(TooManyRequests):
            rates.take("a")
    assert written == LIMITS.requests_at_once / LOT


def test_another_process_in_between_costs_another_try_and_no_more_than_the_rate(
    world: World, deps: Dependencies
) -> None:
    first, second = AccountRates(deps), AccountRates(deps)
    granted(first, OWN)
    granted(second, OWN)

    def overtaken(writes: Sequence[Write]) -> None:
        world.store.before_commit = lambda writes: None
        second.take("a")

    world.store.before_commit = overtaken
    first.take("a")
    # Half a second passed between the two tries at the most.
    assert granted(first, 100) + granted(second, 100) == LIMITS.requests_at_once - 2


def test_a_rate_of_one_process_knows_so_many_keys_and_no_more(world: World) -> None:
    rates = Rates(Rate(1, 1), world.now)
    for number in range(20_000):
        rates.take(str(number))
    with pytest.raises(TooManyRequests):
        rates.take("19999")
    rates.take("0")
