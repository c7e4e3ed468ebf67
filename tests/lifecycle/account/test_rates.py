"""Rate limits of requests, for each account, in one process and across processes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from functions.domain.account.model import Limits, Rate
from functions.domain.errors import TooManyRequests
from functions.lifecycle.account.admission import RATES, AccountRates, Rates
from functions.lifecycle.dependencies import Dependencies, Write
from tests.fakes.world import World

LIMITS = Limits(requests_at_once=40, requests_a_minute=60)
# A process grants a quarter of the burst by itself, and takes further requests from the document in lots of a tenth.
PROCESS_SHARE, LOT = 10, 4


@pytest.fixture
def deps(world: World) -> Dependencies:
    return replace(world.deps, limits=LIMITS)


def count_granted(rates: AccountRates, requests: int, account: str = "a") -> int:
    """Of `requests` requests in a row, the number before the first refusal."""
    for count in range(requests):
        try:
            rates.take(account)
        except TooManyRequests:
            return count
    return requests


def test_burst_is_refused_until_retry_after_has_passed(world: World, deps: Dependencies) -> None:
    rates = AccountRates(deps)
    assert count_granted(rates, 100) == PROCESS_SHARE + LIMITS.requests_at_once
    with pytest.raises(TooManyRequests) as refused:
        rates.take("a")
    world.pass_time(refused.value.retry_after)
    assert count_granted(rates, 100) >= 1


def test_burst_of_one_account_does_not_limit_another(deps: Dependencies) -> None:
    rates = AccountRates(deps)
    count_granted(rates, 100)
    assert count_granted(rates, PROCESS_SHARE, "b") == PROCESS_SHARE


def test_account_within_the_process_share_has_no_document(world: World, deps: Dependencies) -> None:
    assert count_granted(AccountRates(deps), PROCESS_SHARE) == PROCESS_SHARE
    assert world.documents(RATES) == []


def test_processes_share_the_limit_beyond_their_own_share(deps: Dependencies) -> None:
    processes = [AccountRates(deps) for _ in range(5)]
    assert sum(count_granted(process, 100) for process in processes) == 5 * PROCESS_SHARE + LIMITS.requests_at_once


def test_document_is_written_once_a_lot_and_not_for_refused_requests(world: World, deps: Dependencies) -> None:
    rates, write_count = AccountRates(deps), 0

    def count(writes: Sequence[Write]) -> None:
        nonlocal write_count
        write_count += len(writes)

    world.store.before_commit = count
    count_granted(rates, 1000)
    for _ in range(1000):
        with pytest.raises(TooManyRequests):
            rates.take("a")
    assert write_count == LIMITS.requests_at_once / LOT


def test_conflict_with_another_process_is_retried_within_the_limit(world: World, deps: Dependencies) -> None:
    first, second = AccountRates(deps), AccountRates(deps)
    count_granted(first, PROCESS_SHARE)
    count_granted(second, PROCESS_SHARE)

    def take_in_other_process(writes: Sequence[Write]) -> None:
        world.store.before_commit = lambda writes: None
        second.take("a")

    world.store.before_commit = take_in_other_process
    first.take("a")
    # At most half a second passed between the two attempts, too short for the limit to grow by a request.
    assert count_granted(first, 100) + count_granted(second, 100) == LIMITS.requests_at_once - 2


def test_rates_of_a_process_forget_the_oldest_of_many_keys(world: World) -> None:
    rates = Rates(Rate(1, 1), world.now)
    for number in range(20_000):
        rates.take(str(number))
    with pytest.raises(TooManyRequests):
        rates.take("19999")
    rates.take("0")
