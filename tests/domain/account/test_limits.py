"""A rate: a burst that is spent and refills with time."""

from datetime import UTC, datetime, timedelta

from functions.domain.account.model import Rate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
RATE = Rate(at_once=3, a_minute=60)


def test_burst_is_followed_by_the_steady_rate() -> None:
    full_at = LONG_AGO
    for _ in range(3):
        assert RATE.wait(full_at, NOW) <= timedelta(0)
        full_at = RATE.spent(full_at, NOW)
    assert RATE.wait(full_at, NOW) == timedelta(seconds=1)
    assert RATE.wait(full_at, NOW + timedelta(seconds=1)) == timedelta(0)


def test_allowance_refills_to_the_burst_and_no_further() -> None:
    later = NOW + timedelta(days=1)
    full_at = RATE.spent(RATE.spent(LONG_AGO, NOW, 3), later, 3)
    assert RATE.wait(full_at, later) == timedelta(seconds=1)


def test_several_are_granted_together_or_not_at_all() -> None:
    full_at = RATE.spent(LONG_AGO, NOW, 2)
    assert RATE.wait(full_at, NOW, 2) == timedelta(seconds=1)
    assert RATE.wait(full_at, NOW, 1) <= timedelta(0)
