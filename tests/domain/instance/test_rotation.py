"""Which of a rotation's values replace those that are known."""

from datetime import UTC, datetime, timedelta

from functions.domain.instance.model import Rotation, newer_values

AT = datetime(2026, 1, 1, tzinfo=UTC)
KNOWN = Rotation("i", {"TOKEN": AT}, None, None, "r", AT)


def test_older_value_never_replaces_a_newer_one() -> None:
    assert newer_values(KNOWN, {"TOKEN": "old", "OTHER": "o"}, AT - timedelta(seconds=1)) == {"OTHER": "o"}
    assert newer_values(KNOWN, {"TOKEN": "same"}, AT) == {"TOKEN": "same"}
    assert newer_values(None, {"TOKEN": "first"}, AT) == {"TOKEN": "first"}
